"""Template snippets: Penstock's rendering compared with transformers' (its sandboxed jinja2).

    snippets.py --driver text_driver --out rows.jsonl [--count 2000] [--seed 0]

The snippets are made from the parts that real templates use: expressions with every operator, filter, test and
method on values of every kind, and blocks around them. One row for each snippet that differs, and one with the counts.
"""
import argparse
import json
import pathlib
import random
import tempfile

import transformers.utils.chat_template_utils as truth

import driver

CONTEXT = {
    "messages": [{"role": "user", "content": "Hi <b>there</b>\n  two"}, {"role": "assistant", "content": "Ünï 😀 42", "n": 3}],
    "tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
    "d": {"b": 1, "a": [1, 2.5, None], "items": {"type": "string"}, "é": "x"}, "l": [3, 1, 2], "w": ["b", "A", "c"], "f": 2.5,
    "g": -7, "big": 1e20, "s": "hello wORLD", "e": "", "z": 0, "t": True, "u": None, "long": " a b\n\nc_d e-f\n",
    "rows": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "x", "v": 3}],
}
NAMES = ["messages", "d", "l", "w", "f", "g", "big", "s", "e", "z", "t", "u", "long", "rows", "missing", "tools", "documents"]
LITERALS = ["1", "-2", "0", "2.5", "1e20", "1e-7", "100000", "'a'", "'%s'", "'b c'", "''", "\"q'q\"", "'\\n'", "true", "false", "none",
            "[]", "[1, 'x']", "(1, 2)", "(1,)", "()", "{}", "{'k': 1}", "{'a': [1, (2, 3)]}", "'x\\u00e9'", "3", "7", "'12'", "' p '"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["abs", "capitalize", "center(9)", "count", "default('z')", "default('z', true)", "d(1)", "dictsort", "e", "escape", "first",
           "float", "float(1)", "indent", "indent(2)", "indent('>>')", "indent(2, true)", "indent(width=3, blank=true)", "int", "int(default=4)",
           "int(3)", "int(base=16)", "items|list", "join", "join(', ')", "join('-', attribute='k')", "last", "length", "list", "lower", "map('upper')|list",
           "map(attribute='role')|list", "map(attribute='k', default='q')|list", "max", "min", "replace('a', 'b')", "replace('l', 'L', 1)", "reverse|list",
           "round", "round(1)", "round(2, 'floor')", "round(method='ceil')", "select|list", "select('string')|list", "reject('none')|list",
           "selectattr('v')|list", "selectattr('v', 'gt', 1)|list", "rejectattr('k', 'equalto', 'x')|list", "sort", "sort(reverse=true)",
           "sort(attribute='v')", "string", "sum", "sum(start=10)", "sum(attribute='v')", "title", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)",
           "trim", "trim('a')", "truncate(5)", "truncate(5, true)", "truncate(7, false, '!')", "unique|list", "upper", "wordcount", "batch(2)|list",
           "batch(2, 0)|list", "slice(2)|list", "groupby('k')|list", "format(1)", "format('x', 2)", "safe", "striptags", "urlencode", "wordwrap(5)",
           "attr('role')", "pprint", "forceescape", "filesizeformat", "xmlattr"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "true", "false",
         "odd", "even", "divisibleby(2)", "divisibleby 3", "eq(1)", "equalto('a')", "ne(2)", "lt(3)", "gt 0", "ge(1)", "le(2)", "in([1, 2, 'a'])",
         "sameas(none)", "sameas true", "lower", "upper", "callable", "escaped", "not defined", "not none", "not string"]
METHODS = ["upper()", "lower()", "title()", "capitalize()", "strip()", "lstrip()", "rstrip('d')", "split()", "split(' ')", "split('l', 1)", "rsplit(' ', 1)",
           "partition('l')", "rpartition('o')", "index('l')", "find('o')", "rfind('l')", "count('l')", "zfill(14)", "center(15, '*')", "ljust(13)",
           "rjust(13, '.')", "startswith('h')", "endswith(('d', 'D'))", "replace('l', 'LL')", "replace('l', '', 1)", "splitlines()", "splitlines(true)",
           "swapcase()", "casefold()", "isalpha()", "isdigit()", "isupper()", "islower()", "istitle()", "isspace()", "removeprefix('he')", "removesuffix('LD')",
           "join(['x', 'y'])", "format(1)", "expandtabs()", "get('b')", "get('q', 5)", "items()|list", "keys()|list", "values()|list", "items()", "copy()",
           "find('l', 4)", "count('l', 0, 3)", "isalnum()", "isidentifier()", "split(none, 1)", "append(1)", "pop()", "update({})"]
ACCESS = ["[0]", "[-1]", "['b']", "['zz']", ".b", ".items", ".role", ".zz", "[0].role", "[:2]", "[1:]", "[::-1]", "[-2:]", "[5]", "[::2]", "[2:0:-1]", "[:-1]"]
GROUPED = "rows|groupby('k')"
PRINTF = ["'%s'", "'%d'", "'%5d|'", "'%-5d|'", "'%05.1f'", "'%.3f'", "'%x'", "'%r'", "'%%%s'", "'%e'", "'%g'", "'%s-%s'", "'%(k)s'", "'%c'", "'%+d'", "'%5s|'"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, options):
        return self.random.choice(options)

    def atom(self):
        return self.pick(NAMES if self.random.random() < 0.5 else LITERALS)

    def expression(self, depth=2):
        kind = self.random.randrange(14)
        if depth == 0 or kind == 0:
            return self.atom()
        inner = self.expression(depth - 1)
        if kind <= 4:
            return f"{inner} {self.pick(BINARY)} {self.expression(depth - 1)}"
        if kind <= 7:
            return f"({inner}) | {self.pick(FILTERS)}" if self.random.random() < 0.5 else f"{self.atom()}|{self.pick(FILTERS)}"
        if kind == 8:
            return f"{self.atom()}.{self.pick(METHODS)}" if self.random.random() < 0.5 else f"s.{self.pick(METHODS)}"
        if kind == 9:
            return f"({inner}) is {self.pick(TESTS)}"
        if kind == 10:
            return f"{self.pick(NAMES)}{self.pick(ACCESS)}"
        if kind == 11:
            return f"{self.pick(PRINTF)} % {self.pick([self.atom(), '(1, 2)', '(s, f)', '{chr: 1}', 'd', '(f,)', '255', 'g'])}".replace("chr", "'k'")
        if kind == 12:
            return f"{inner} if {self.expression(depth - 1)} else {self.atom()}"
        return self.pick([f"-{inner}", f"+{inner}", f"not {inner}", f"[{inner}, {self.atom()}]", f"({inner}, {self.atom()})", f"{{'k': {inner}}}"])

    def block(self):
        e = self.expression
        kind = self.random.randrange(12)
        if kind == 0:
            return f"{{% for x in {self.pick(['l', 'w', 'd', 's', 'rows', '(1, 2)', 'messages', 'd.items()', 'missing', e(1)])} %}}\n  {{{{ x }}}},{{{{ loop.index0 }}}}{{{{ loop.last }}}}\n{{% else %}}none{{% endfor %}}"
        if kind == 1:
            return f"{{% if {e()} %}}A{{% elif {e(1)} %}}B{{% else %}}C{{% endif %}}"
        if kind == 2:
            return f"{{% set v = {e()} %}}{{{{ v }}}}{{{{ v is defined }}}}"
        if kind == 3:
            return f"{{% macro m(a, b={self.atom()}) %}}[{{{{ a }}}}{{{{ b }}}}]{{% endmacro %}}{{{{ m({e(1)}) }}}}{{{{ m(1, b=2) }}}}"
        if kind == 4:
            return f"{{% for k, v in {self.pick(['d.items()', 'd|dictsort', 'd|items', '[(1, 2)]', GROUPED])} %}}{{{{ k }}}}={{{{ v }}}};{{% endfor %}}"
        if kind == 5:
            return f"  {{%- if t -%}}  x {{{{- {e(1)} -}}}} y {{%- endif %}}\n  z"
        if kind == 6:
            return f"{{% set ns = namespace(n={self.atom()}) %}}{{% for i in range(3) if i != 1 %}}{{% set ns.n = ns.n ~ i %}}{{% endfor %}}{{{{ ns.n }}}}"
        if kind == 7:
            return f"{{% set c = cycler('a', 'b') %}}{{{{ c.next() }}}}{{{{ c.next() }}}}{{{{ c.next() }}}}{{{{ c.current }}}}"
        if kind == 8:
            return f"{{% set x %}}{{{{ {e(1)} }}}}!{{% endset %}}{{{{ x|length }}}}{{{{ x }}}}"
        if kind == 9:
            return f"{{% filter {self.pick(['upper', 'trim', 'indent(2)', 'title'])} %}} a {{{{ {e(1)} }}}}\nb{{% endfilter %}}"
        if kind == 10:
            return f"{{% for x in l %}}{{% if x == {self.atom()} %}}{{% break %}}{{% endif %}}{{{{ loop.cycle('o', 'e') }}}}{{{{ x }}}}{{% endfor %}}"
        return f"{{{{ {e(3)} }}}}"

    def snippet(self):
        return f"{{{{ {self.expression()} }}}}" if self.random.random() < 0.7 else self.block()


# What earlier versions rendered otherwise or refused, and the lexer's corners.
KNOWN = ["{{ 'a' ~ {'k': 1} }}", "{{ 'a' ~ 1e20 }}", "{{ 2.5|round }}", "{{ -7 % 3 }} {{ 7 % -3 }}", "{{ documents is defined }}", "{{ 'c_d'|title }}",
         "{{ (1, 2)|string }}", "{{ true is number }}", "{{ '<'|e }}", "{{ '%s %d' % ('a', 2) }}", "{{ missing|length }}", "{{ 'x'|int(default=7) }}",
         "{{ 'a=b'.partition('=') }}", "{{ 'abc'.index('c') }}", "{{ '7'.zfill(3) }}", "{{ 'x'|center(5) }}|", "{{ 'a b c'|wordcount }}", "{{ [1,2]|sum(start=5) }}",
         "{{ +3 }}", "{{ 'a\nb'|indent('>>') }}", "{{ 2 ** -1 }}", "{{ 2 ** 3 ** 2 }}", "{{ -2 ** 2 }}", "{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }}", "{{ d.items is defined }}",
         "{{ 'a' 'b' }}", "{{ 1_000 + 0xff + 0b11 }}", "{{ '\\x41\\u00e9\\q\\101' }}", "{% raw %}{{ x }}{% endraw %}|", "a\r\nb\rc\r\n", "{# c #}x{#- d -#} y", "{{ 1, 2 }}",
         "{{ -1|abs }}", "{{ 'x' if false }}|", "{{ (1,2)[1] }} {{ (1,2,3)[1:] }}", "{{ 'ab'[0] }}{{ 'ab'[-1] }}", "{{ {1: 2}[1] }}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a+b+c }}{% endfor %}",
         "{{ '}}' ~ '%}' }}", "{{ {'a': {'b': 1}} }}", "{% print 1, 2 %}", "{{ not true is false }}", "{{ 1 is not none and 2 }}"]


def tokenizer(folder):
    """The driver opens a tokenizer; the smallest that there is will do."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                                "added_tokens": []}))
    return path


def wanted(template):
    try:
        return truth._compile_jinja_template(template).render(**CONTEXT)
    except Exception:
        return None


def rendered(penstock, template):
    try:
        penstock.compile(template)
        return penstock.render(CONTEXT), None
    except driver.Failure as failure:
        return None, str(failure)


def rows(penstock, count, seed):
    maker = Maker(seed)
    equal = refused = 0
    snippets = KNOWN + [maker.snippet() for _ in range(count - len(KNOWN))]
    for snippet in snippets:
        want, (got, error) = wanted(snippet), rendered(penstock, snippet)
        equal += got == want
        refused += got is None and want is None
        if got != want:
            yield {"bench": "answers", "part": "snippet", "template": snippet, "want": want, "got": got, "error": error}
    yield {"bench": "answers", "part": "snippets", "model": "generated", "snippets": len(snippets), "equal": equal, "both_refuse": refused,
           "truth": f"transformers {transformers_version()}"}


def transformers_version():
    import transformers
    return transformers.__version__


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with arguments.out.open("w") as out, tempfile.TemporaryDirectory() as scratch:
        penstock = driver.Driver(arguments.driver, tokenizer(pathlib.Path(scratch)))
        for row in rows(penstock, arguments.count, arguments.seed):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        penstock.close()
    print({key: row[key] for key in ("snippets", "equal", "both_refuse")})


if __name__ == "__main__":
    main()
