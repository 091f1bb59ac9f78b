//! The pre-tokenizers that a GGUF names in tokenizer.ggml.pre: how text is cut into words before the merges of a
//! byte-pair vocabulary apply. One row for each way; docs/files.md says what each row was compared with.
//!
//! A row is what the models' own tokenizer.json says, where it is known. Elsewhere it is what libllama does.

use serde_json::{json, Value};

/// A step of the cut. Each applies to the pieces that the steps before it left.
pub enum Step {
    /// Matches become pieces of their own, and so does the text between them.
    Split(&'static str),
    /// Each digit is a piece.
    EachDigit,
    /// Words, numbers and symbols as in GPT-2; later steps see bytes as the characters that stand for them.
    Words,
}
use Step::{EachDigit, Split, Words};

pub struct Row {
    pub names: &'static [&'static str],
    pub steps: &'static [Step],
    pub composes: bool,       // Unicode's normal form C is applied first
    pub whole_words: bool,    // a word that is in the vocabulary is that token, whatever the merges say
    pub escapes_spaces: bool, // text is UTF-8 with U+2581 for a space, not bytes as characters
}

const ROW: Row = Row { names: &[], steps: &[], composes: false, whole_words: false, escapes_spaces: false };

macro_rules! contraction {
    () => {
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    };
}
macro_rules! cl100k {
    ($digits:literal) => {
        concat!(
            contraction!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}
// Words with at most one change from upper to lower case. $not: what the letters must not be.
macro_rules! cased {
    ($not:literal, $after:expr, $rest:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?(?:",
            $not,
            r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])*(?:",
            $not,
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}])+",
            $after,
            r"|[^\r\n\p{L}\p{N}]?(?:",
            $not,
            r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])+(?:",
            $not,
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}])*",
            $after,
            "|",
            $rest
        )
    };
}
macro_rules! o200k {
    ($after:expr, $rest:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $after,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $after,
            "|",
            $rest
        )
    };
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = cl100k!(r"\p{N}{1,3}");
const QWEN2: &str = cl100k!(r"\p{N}");
const QWEN35: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const JAIS2: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)",
    r"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
);
const UP_TO_THREE_DIGITS: &str = r"\p{N}{1,3}";
const CJK_AND_KANA: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
const CJK_AND_HANGUL: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";
const DEEPSEEK_V3: &str = concat!(
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|",
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const SPARK: &str = concat!(
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|",
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
);
// The cased letters of Unicode 11, as DeepSeek's first tokenizer lists them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?",
    "[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\u{2af}",
    "\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}",
    "\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}",
    "\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}",
    "\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}",
    "\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}",
    "\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}",
    "\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}",
    "\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}",
    "\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}",
    "\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}",
    "\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}",
    "\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}",
    "\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]+",
);
const DEEPSEEK_SIGNS: &str = "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const TEKKEN: &str = o200k!("", r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const O200K: &str =
    o200k!(concat!(contraction!(), "?"), r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const YOUTU: &str =
    o200k!(concat!(contraction!(), "?"), r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const KIMI: &str = concat!(
    r"\p{Han}+|",
    cased!(
        r"(?!\p{Han})",
        concat!(contraction!(), "?"),
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
);
const BAILING: &str = concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
);
const SEED_CODER: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
);
const MINICPM5: &str = cl100k!(r"\p{N}+");
const LINES: &str = r"[^\n]+|[\n]+";
// Groups of three digits from the right.
const THREE_FROM_RIGHT: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
const ASIAN_SCRIPTS: &str =
    "[一-鿿㐀-䶿豈-﫿\u{3040}-ゟ゠-ヿ･-ﾟ⼀-⿟เ-\u{e7f}\u{e80}-\u{eff}ក-\u{17ff}က-႟ꩠ-ꩿꧠ-\u{a9ff}가-\u{d7af}ᄀ-ᇿ]+";

pub const ROWS: &[Row] = &[
    Row {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        steps: &[Split(LLAMA3)],
        whole_words: true,
        ..ROW
    },
    Row { names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], steps: &[Split(LLAMA3)], ..ROW },
    Row {
        names: &["minicpm5"],
        steps: &[Split(UP_TO_THREE_DIGITS), Split(MINICPM5)],
        whole_words: true,
        ..ROW
    },
    Row { names: &["jais-2"], steps: &[Split(JAIS2)], ..ROW },
    Row { names: &["qwen2", "deepseek-r1-qwen"], steps: &[Split(QWEN2)], composes: true, ..ROW },
    Row {
        names: &["kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        steps: &[Split(QWEN2)],
        ..ROW
    },
    Row { names: &["qwen35"], steps: &[Split(QWEN35)], composes: true, ..ROW },
    Row {
        names: &["deepseek-llm"],
        steps: &[
            Split("[\r\n]"),
            Split(DEEPSEEK_LETTERS),
            Split(DEEPSEEK_SIGNS),
            Split(r"\s+$"),
            Split(CJK_AND_HANGUL),
            EachDigit,
        ],
        ..ROW
    },
    Row {
        names: &["deepseek-coder"],
        steps: &[Split("[\r\n]"), Split(r"\s?\p{L}+"), Split(r"\s?\p{P}+"), Split(CJK_AND_HANGUL), EachDigit],
        ..ROW
    },
    Row {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        steps: &[Split(UP_TO_THREE_DIGITS), Split(CJK_AND_KANA), Split(DEEPSEEK_V3)],
        ..ROW
    },
    Row {
        names: &["spark2_5"],
        steps: &[Split(UP_TO_THREE_DIGITS), Split(CJK_AND_KANA), Split(SPARK), Split(r"\p{N}")],
        ..ROW
    },
    Row {
        names: &["youtu"],
        steps: &[
            Split("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+"),
            Split(YOUTU),
        ],
        whole_words: true,
        ..ROW
    },
    Row {
        names: &["falcon"],
        steps: &[Split(r"[\p{P}$+<=>^~|`]+"), Split(GPT2), Split("[0-9][0-9][0-9]")],
        ..ROW
    },
    Row {
        names: &["default", ""],
        steps: &[Split(r"[\p{P}$+<=>^~|]+"), Split(GPT2), Split(r"\p{N}+"), Split("[0-9][0-9][0-9]")],
        ..ROW
    },
    Row {
        names: &["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[EachDigit, Words],
        ..ROW
    },
    Row { names: &["command-r"], steps: &[EachDigit, Words], composes: true, ..ROW },
    Row {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        steps: &[Words],
        ..ROW
    },
    Row { names: &["mpt", "olmo"], steps: &[Words], composes: true, ..ROW },
    Row { names: &["poro-chat", "bloom", "gpt3-finnish"], steps: &[Split(BLOOM)], ..ROW },
    Row { names: &["viking"], steps: &[Split(BLOOM), EachDigit], ..ROW },
    Row { names: &["tekken"], steps: &[Split(TEKKEN)], whole_words: true, ..ROW },
    Row {
        names: &["chameleon"],
        steps: &[
            Split("<sentinel:[0-9]+>"),
            Split("(?:IMGIMG)(?:(?:A|B|C|D|E|F|G|H|I){1,4})Z"),
            Split("[\\t\\n]|    |  "),
            EachDigit,
            Split(r"[\p{P}!-/:-@\[-`{-~]"),
            Words,
        ],
        ..ROW
    },
    Row { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], steps: &[Split(O200K)], ..ROW },
    Row { names: &["granite-embed-multi-97m"], steps: &[Split(O200K)], whole_words: true, ..ROW },
    Row { names: &["tiny_aya", "cohere2moe"], steps: &[Split(THREE_FROM_RIGHT), Split(O200K)], ..ROW },
    Row { names: &["kimi-k2"], steps: &[Split(KIMI)], ..ROW },
    Row { names: &["superbpe"], steps: &[Split(r"\p{N}+"), Split(r"(?=(?:\d{3})+(?!\d))")], ..ROW },
    Row { names: &["bailingmoe", "bailingmoe2", "llada-moe"], steps: &[Split(BAILING)], ..ROW },
    Row { names: &["seed-coder"], steps: &[Split(SEED_CODER)], ..ROW },
    Row { names: &["ufakzeka"], steps: &[Split(UFAKZEKA)], ..ROW },
    Row {
        names: &["afmoe"],
        steps: &[Split(THREE_FROM_RIGHT), Split(ASIAN_SCRIPTS), Split(DEEPSEEK_V3)],
        ..ROW
    },
    Row { names: &["laguna"], steps: &[Split(LINES), Split(QWEN2)], ..ROW },
    Row { names: &["exaone-moe"], steps: &[Split(EXAONE_MOE)], ..ROW },
    Row {
        names: &["gemma4", "granite-embed-multi-311m"],
        steps: &[Split(LINES)],
        escapes_spaces: true,
        ..ROW
    },
    Row { names: &["sarvam-moe"], steps: &[Split(LINES)], escapes_spaces: true, ..ROW },
];

pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.contains(&name))
}

impl Row {
    pub fn normalizer(&self) -> Value {
        match (self.composes, self.escapes_spaces) {
            (true, _) => json!({"type": "NFC"}),
            (_, true) => json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}),
            _ => Value::Null,
        }
    }

    pub fn pre_tokenizer(&self) -> Value {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let written = |step: &Step| match step {
            Split(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
            EachDigit => json!({"type": "Digits", "individual_digits": true}),
            Words => bytes(true),
        };
        let mut steps: Vec<Value> = self.steps.iter().map(written).collect();
        if !self.escapes_spaces && !matches!(self.steps.last(), Some(Words)) {
            steps.push(bytes(false));
        }
        match steps.len() {
            1 => steps.remove(0),
            _ => json!({"type": "Sequence", "pretokenizers": steps}),
        }
    }
}
