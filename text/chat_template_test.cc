#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/text.h"

namespace penstock {
namespace {

using testing::HasSubstr;

Result<std::string> Render(std::string source, std::string_view context = "{}") {
  PENSTOCK_ASSIGN(const auto compiled, CompileTemplate(std::move(source)));
  return compiled->Render(context);
}

struct Case {
  const char* source;
  const char* expected;  // what transformers' environment renders (jinja2 3.1.6)
};

void ExpectAll(std::initializer_list<Case> cases, std::string_view context = "{}") {
  for (const Case& c : cases) {
    const auto text = Render(c.source, context);
    ASSERT_TRUE(text.has_value()) << c.source << ": " << text.error().message;
    EXPECT_EQ(*text, c.expected) << c.source;
  }
}

TEST(ChatTemplate, BlocksTakeTheirLineWithThem) {
  ExpectAll({
      {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
      {"{%- if true -%}  tight  {%- endif -%}  |", "tight|"},
      {"x{#- note -#} y {{- ' z ' -}} w", "xy z w"},
      {"{% generation %}said{% endgeneration %}|{%- generation -%} x {%- endgeneration -%}", "said|x"},
  });
}

TEST(ChatTemplate, TojsonWritesAsPythonsJsonDumps) {
  const std::string_view context = R"({"d":{"b":[1,2.5,1e16,1e-5,null,true],"a":"é\"<b>\n\u0001😀"},"e":{}})";
  ExpectAll(
      {
          {"{{ d|tojson }}", R"({"b": [1, 2.5, 1e+16, 1e-05, null, true], "a": "é\"<b>\n\u0001😀"})"},
          {"{{ d.a|tojson(ensure_ascii=true) }}", R"("\u00e9\"<b>\n\u0001\ud83d\ude00")"},
          {"{{ {'k': [1, {}]}|tojson(indent=2) }}", "{\n  \"k\": [\n    1,\n    {}\n  ]\n}"},
          {"{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}", R"({"a":2,"b":1})"},
          {"{{ e|tojson }}{{ []|tojson(indent=4) }}", "{}[]"},
      },
      context);
}

TEST(ChatTemplate, ValuesPrintAsPythonPrintsThem) {
  ExpectAll(
      {
          {"{{ none }} {{ true }} {{ x }}|{{ missing }}", "None True 2.0|"},
          {"{{ l }}", R"([1, None, 'a', "it's", {'k': False}])"},
          {"{{ ['a\\n\\u200b', 1e22] }}", R"(['a\n\u200b', 1e+22])"},
      },
      R"({"x":2.0,"l":[1,null,"a","it's",{"k":false}]})");
}

TEST(ChatTemplate, PythonsMethodsAreThere) {
  ExpectAll(
      {
          {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "items=1;b=2;"},
          {"{{ d.get('b') }} {{ d.get('z', 'none') }} {{ d['items'] }}", "2 none 1"},
          {"{{ 'a</think>\\nb'.split('</think>')[-1].lstrip('\\n') }}", "b"},
          {"{{ ' a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }}", "['a', 'b'] ['a,b', 'c']"},
          {"{{ '\x1c x\u00a0'.strip() }}|{{ '\x1cx' | trim }}", "x|x"},
          {"{{ 'aaa'.count('') }} {{ 'éa'.find('a') }} {{ ''.isalpha() }}", "4 1 False"},
          {"{{ 'xay'.removeprefix('x').removesuffix('y') }} {{ 'aaa' | replace('a', 'b', 2) }}", "a bba"},
          {"{{ 'a\\r\\nb\u2028c'.splitlines() }}", "['a', 'b', 'c']"},
          {"{{ 'x'|int(9) }} {{ '3'|int }} {{ '{}-{n}'.format(1, n=2) }}", "9 3 1-2"},
          {"{{ 'ab' is sequence }} {{ d is mapping }} {{ 'ab' is iterable }} {{ 1 is iterable }}",
           "True True True False"},
      },
      R"({"d":{"items":1,"b":2}})");
}

TEST(ChatTemplate, MacrosNamespacesAndLoopsWork) {
  ExpectAll({
      {"{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(2, b=3) }}", "[1z][23]"},
      {"{% set ns = namespace(n=0) %}{% for i in range(4) if i % 2 %}{% set ns.n = ns.n + i %}{% endfor %}{{ "
       "ns.n }}",
       "4"},
      {"{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ loop.index0 }}{{ loop.last }}{% "
       "endfor %}",
       "0False2True"},
      {"{{ [1,2,3][::-1] }} {{ 'abc'[:-1] }}", "[3, 2, 1] ab"},
      {"{{ [{'r': 'u'}, {'r': 'a'}] | selectattr('r', 'equalto', 'a') | map(attribute='r') | join(',') }}",
       "a"},
  });
}

TEST(ChatTemplate, StrftimeNowTellsTheTime) {
  const auto year = Render("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(year.has_value());
  EXPECT_EQ(year->size(), 4u);
  EXPECT_FALSE(Render("{{ strftime_now('a\\u0000b') }}").has_value());
}

TEST(ChatTemplate, RefusalComesBackInItsOwnWords) {
  const auto text =
      Render("{% macro m() %}{{ raise_exception('Roles must alternate') }}{% endmacro %}{{ m() }}");
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code, Code::kInvalid);
  EXPECT_EQ(text.error().message, "Roles must alternate");
}

TEST(ChatTemplate, ARefusalWithoutWordsIsStillSaid) {
  const auto text = Render("{{ raise_exception('') }}");
  ASSERT_FALSE(text.has_value());
  EXPECT_THAT(text.error().message, HasSubstr("does not say why"));
}

TEST(ChatTemplate, WhatDoesNotCompileOrRenderSaysWhere) {
  const auto compiled = CompileTemplate("a\n{% if %}");
  ASSERT_FALSE(compiled.has_value());
  EXPECT_EQ(compiled.error().code, Code::kInvalid);
  EXPECT_THAT(compiled.error().message, HasSubstr("chat:2"));
  for (const char* source :
       {"{{ a.b.c }}", "{{ 'a' + 1 }}", "{{ none + 'a' }}", "{{ missing|tojson }}", "{{ x() }}"}) {
    const auto text = Render(source);
    ASSERT_FALSE(text.has_value()) << source;
    EXPECT_EQ(text.error().code, Code::kInvalid) << source;
  }
  for (const char* context : {"", "[]", "{\"a\":", "1", "{\"a\":\xff}"}) {
    EXPECT_FALSE(Render("x", context).has_value()) << context;
  }
}

// More steps than the first try has fuel for.
TEST(ChatTemplate, LongConversationsRender) {
  ExpectAll({
      {"{% for a in range(30000) %}x{% endfor %}|{{ 1 }}", (std::string(30000, 'x') + "|1").c_str()},
      {"{% macro m() %}{% for a in range(30000) %}x{% endfor %}{% endmacro %}{{ m() | length }}", "30000"},
  });
}

TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  const char* sources[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
      "{{ 'x' * 999999999999 }}",
      // A value nested as deeply as fuel allows is built, written and dropped.
      "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x "
      "}}",
      "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ "
      "ns.x|tojson }}",
      "{% set ns = namespace(x=[]) %}{% for c in range(99) %}{% for a in range(99999) %}{% set ns.x = {'a': "
      "ns.x} %}{% endfor %}{% endfor %}",
  };
  for (const char* source : sources) EXPECT_FALSE(Render(source).has_value()) << source;
}

}  // namespace
}  // namespace penstock
