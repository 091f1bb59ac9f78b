"""50,000 lines to tokenize, the same on every machine: 20 languages, code, emoji, numbers, white space,
special tokens in the text, rare and decomposed characters, and bytes that are not UTF-8.

`lines.py [N]` prints the number of lines of each kind and the SHA-256 of all lines.
"""
import hashlib
import random
import sys
import unicodedata

LINES = 50_000

# A few sentences each: enough words for varied lines once they are cut and mixed.
LANGUAGES = {
    "en": "The quick brown fox can't jump over twelve lazy dogs. We've seen that she'd rather wait; they're late, and I'll go. Scarce water turns the turbines below the old stone dam every spring.",
    "de": "Über die Straße läuft ein großer Bär, während Käthe süße Äpfel kauft. Rechtsschutzversicherungsgesellschaften prüfen die Ansprüche gewöhnlich binnen vier Wochen.",
    "fr": "L'été dernier, où étiez-vous ? J'ai mangé des crêpes à la crème fraîche près de l'île. Ça ne m'étonne guère : le cœur a ses raisons que la raison ignore.",
    "es": "¿Dónde está la biblioteca? El niño soñó que volaba sobre el Ñuble. ¡Qué lástima! La energía eólica abastecerá a más de cien mil hogares este año.",
    "pt": "Não há razão para tanta pressa; amanhã começaremos a reunião às nove. O coração da região é a produção de açúcar e de café torrado.",
    "it": "Perché no? La città è più bella di sera, quando i caffè s'illuminano. Gli gnocchi della nonna sono così buoni che nessuno ne lascia mai.",
    "nl": "Het ijzeren bruggetje kraakt bij elke stap. Zo'n oude fiets kost 's winters bijna niets, maar in het voorjaar betaal je het dubbele.",
    "pl": "Zażółć gęślą jaźń i przyjdź szybko do domu. Chrząszcz brzmi w trzcinie w Szczebrzeszynie, a źdźbło trawy drży na wietrze.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy. Dnes večer přijede strýček s třemi košíky čerstvých třešní a malým štěnětem.",
    "tr": "Işığı söndürüp çıktı; İstanbul'da yağmur yağıyordu. Öğrencilerin çoğu gün boyunca kütüphanede çalışıp akşamüstü eve döndü.",
    "vi": "Trời hôm nay đẹp quá, chúng ta đi dạo nhé. Tiếng Việt có nhiều dấu thanh: huyền, sắc, hỏi, ngã, nặng. Quyển sách này rất thú vị.",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний даст мощный толчок подъёму сельского хозяйства.",
    "uk": "Їжак з'їв ґрунтовну кашу і ліг спати під ялинкою. Щастям б'єш жук їх глицю в фон й ґедзь пріч, сказала бабуся.",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Η θάλασσα ήταν ήρεμη και ο ουρανός γαλάζιος πάνω από τα νησιά του Αιγαίου.",
    "ar": "نصٌّ حكيمٌ لهُ سرٌّ قاطعٌ وذو شأنٍ عظيم. ذهب الأولاد إلى المدرسة صباحاً وعادوا في المساء ومعهم كتبٌ جديدة.",
    "he": "דג סקרן שט בים מאוכזב ולפתע מצא חברה. הַיְּלָדִים הלכו לבית הספר בבוקר וחזרו בערב עם ספרים חדשים.",
    "hi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा का अंत हुआ। आज मौसम बहुत अच्छा है और हम बाज़ार जा रहे हैं। क्षत्रिय ज्ञान श्रेष्ठ है।",
    "th": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะกันเถอะ",
    "zh": "稀缺的算力需要公平分配，每一个令牌都要有账可查。今天天气很好，我们去公园散步吧！《红楼梦》是中国古典小说的巅峰之作。価格１２３元。",
    "ja": "いろはにほへと ちりぬるを。吾輩は猫である。名前はまだ無い。コンピューターの価格は１２，３００円です。東京都千代田区で会いましょう！",
    "ko": "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 오늘은 날씨가 아주 좋아서 우리는 공원에 산책하러 갑니다.",
    "bn": "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। আজ আবহাওয়া খুব সুন্দর এবং আমরা বাজারে যাচ্ছি।",
    "ta": "யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது எங்கும் காணோம். இன்று வானிலை மிகவும் நன்றாக உள்ளது.",
}

CODE = [
    "def f(x: int) -> list[int]:\n    return [i**2 for i in range(x) if i % 3 == 0]\n",
    "\tif (a->b != NULL && c[i] >= 0x1F) {\n\t\treturn &p[--n];\r\n\t}",
    "const {x, ...rest} = await fetch(`https://example.org/${id}?q=1&r=%20`).then(r => r.json());",
    "SELECT t.id, COUNT(*) AS n FROM usage t WHERE t.team_id = $1 GROUP BY 1 HAVING COUNT(*) > 10;",
    "template <class T> requires std::integral<T> constexpr auto kMax = std::numeric_limits<T>::max();",
    "fn main() -> Result<(), Box<dyn Error>> { let v: Vec<_> = (0..10).map(|x| x << 2).collect(); Ok(()) }",
    '{"name": "get_weather", "arguments": {"city": "Z\\u00fcrich", "units": null, "days": [1, 2.5e-3]}}',
    "<div class=\"a b\" onclick='go()'>&nbsp;&amp;</div><!-- note -->",
    "#!/bin/sh\nset -eu; for f in *.txt; do sed -e 's/[0-9]\\{3\\}/###/g' \"$f\" | sort -u >> out; done",
    "\\begin{equation} \\int_{0}^{\\infty} e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}",
    "0x7fff5fbff8c0: mov    %rax,-0x8(%rbp)  ; 48 89 45 f8",
    "    - name: build\n      run: |\n        cmake --preset release && ninja -C build\n",
]

EMOJI = "😀 😂 🥲 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 1️⃣ ❤️ ☕︎ 🤷🏻‍♂️ ✈ ∑ → ≤ ½ ² Ⅳ ① ㎏ ™ € ₿ 𝕏 𝒜 🀄 🃏".split(" ")
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u3000", "\u2009", "\u200b", "\u2028",
          "\x0b", "\x0c", "\x1c", "\x85", " \n", "\n ", " \t ", "        ", "\n\n\n\n"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<think>", "</think>",
            "<|fim_prefix|>", "<repo_name>", "<|eot_id|>", "<|begin_of_text|>", "<s>", "</s>", "<unk>", "<0x0A>",
            "<｜begin▁of▁sentence｜>", "<｜User｜>", "[PAD151700]", "<|im_end", "|im_end|>", "<|IM_END|>", "▁", "Ġ",
            "<|reserved_special_token_7|>", "<file_sep>", "<tool_response>"]
BAD_BYTES = [b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80\x80",
             b"\xc3(", b"\xe4\xb8", b"\xfe\xff", b"\xf8\x88\x80\x80\x80", b"\x00", b"\x7f"]


def language_line(rng, name):
    text = LANGUAGES[name]
    spaced = name not in ("th", "zh", "ja")
    parts = text.split(" ") if spaced else list(text)
    count = rng.randint(1, 14 if spaced else 40)
    start = rng.randrange(len(parts))
    cut = [parts[(start + i) % len(parts)] for i in range(count)]
    if rng.random() < 0.3:
        rng.shuffle(cut)
    line = (" " if spaced else "").join(cut)
    change = rng.random()
    if change < 0.05:
        line = line.upper()
    elif change < 0.12:
        line = unicodedata.normalize("NFD", line)
    elif change < 0.15:
        line = unicodedata.normalize("NFKC", line)
    elif change < 0.20:
        line = line[:rng.randint(0, len(line))]
    return line


def code_line(rng):
    text = rng.choice(CODE)
    start = rng.randint(0, len(text) // 2) if rng.random() < 0.5 else 0
    name = "".join(rng.choice("abcXYZ_09") for _ in range(rng.randint(1, 8)))
    return text[start:].replace("x", name) if rng.random() < 0.5 else text[start:]


def number_line(rng):
    forms = [lambda: str(rng.randint(0, 10 ** rng.randint(1, 18))), lambda: f"{rng.uniform(-1e6, 1e6):,.3f}",
             lambda: f"{rng.random():.3e}", lambda: hex(rng.getrandbits(64)), lambda: f"2026-{rng.randint(1, 12):02}-17T08:30:00Z",
             lambda: "".join(rng.choice("٠١٢٣४५६７８９Ⅷ½¾²") for _ in range(rng.randint(1, 6))),
             lambda: f"v{rng.randint(0, 9)}.{rng.randint(0, 99)}-rc{rng.randint(1, 9)}"]
    return rng.choice([" ", ", ", "", "\n"]).join(rng.choice(forms)() for _ in range(rng.randint(1, 6)))


def rare_line(rng):
    """Any code points except surrogates: unassigned, private, and combining marks on any character."""
    out = []
    for _ in range(rng.randint(1, 30)):
        low, high = rng.choice([(0x20, 0x7e), (0, 0x24f), (0x300, 0x36f), (0x370, 0x1fff), (0x2000, 0x2bff),
                                (0x2e80, 0xd7ff), (0xe000, 0xffff), (0x10000, 0x1ffff), (0x20000, 0x10ffff)])
        out.append(chr(rng.randint(low, high)))
    return "".join(out)


def mixed_line(rng):
    pieces = []
    for _ in range(rng.randint(2, 6)):
        pieces.append(rng.choice([lambda: language_line(rng, rng.choice(list(LANGUAGES))), lambda: code_line(rng)[:30],
                                  lambda: number_line(rng), lambda: rng.choice(EMOJI), lambda: rng.choice(SPACES),
                                  lambda: rng.choice(SPECIALS)])())
    return "".join(pieces)


def bad_line(rng):
    text = mixed_line(rng).encode()
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(BAD_BYTES) + text[at:]
    return text[:rng.randint(1, len(text))] if rng.random() < 0.3 else text


def join_of(rng, choices, low, high, separators=("", " ")):
    return rng.choice(separators).join(rng.choice(choices) for _ in range(rng.randint(low, high)))


def line_of(rng, kind):
    if kind in LANGUAGES:
        return language_line(rng, kind)
    return {"code": code_line, "number": number_line, "rare": rare_line, "mixed": mixed_line, "bad bytes": bad_line,
            "emoji": lambda r: join_of(r, EMOJI, 1, 12),
            "space": lambda r: "".join(r.choice(SPACES + ["a", "x1", ".", "字"]) for _ in range(r.randint(1, 16))),
            "special": lambda r: join_of(r, SPECIALS + ["user", "\n", "Hi", " "], 1, 8)}[kind](rng)


KINDS = list(LANGUAGES) + ["code"] * 4 + ["emoji", "number", "space", "rare", "mixed", "mixed", "special", "bad bytes", "bad bytes"]


def lines(count=LINES, seed=20261):
    """[(kind, bytes)], distinct as far as the kind allows."""
    out, seen = [], set()
    for i in range(count):
        kind, rng = KINDS[i % len(KINDS)], random.Random(seed * 1_000_003 + i)
        for _ in range(50):
            line = line_of(rng, kind)
            line = line if isinstance(line, bytes) else line.encode()
            if line not in seen:
                break
        seen.add(line)
        out.append((kind, line))
    return out


def main():
    made = lines(int(sys.argv[1]) if len(sys.argv) > 1 else LINES)
    for kind in dict.fromkeys(KINDS):
        print(f"{sum(k == kind for k, _ in made):6} {kind}")
    text = b"\0".join(line for _, line in made)
    print(f"{len(made):6} lines, {len(set(line for _, line in made))} distinct, {len(text) / 1e6:.1f} MB, "
          f"sha256 {hashlib.sha256(text).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
