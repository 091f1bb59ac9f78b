#include "text/fuzzing.h"

namespace {

// Pieces of real templates; concatenated, they often compile.
constexpr const char* kParts[] = {
    "{% for m in messages %}",
    "{% endfor %}",
    "{%- if m.role == 'user' -%}",
    "{% elif tools %}",
    "{% else %}",
    "{% endif %}",
    "{{ m.content }}",
    "{{ m['content'] | trim }}",
    "{{ tools | tojson }}",
    "{{ tools | tojson(indent=2) }}",
    "{% set ns = namespace(x=[], n=0) %}",
    "{% set ns.x = [ns.x] %}",
    "{% set ns.n = ns.n + 1 %}",
    "{{ ns.x }}",
    "{{ ns.n }}",
    "{% macro f(a, b=1) %}",
    "{% endmacro %}",
    "{{ f(1) }}",
    "{{ f(messages) }}",
    "{{ raise_exception('no') }}",
    "{{ messages[::-1] }}",
    "{{ messages | length }}",
    "{{ 'a,b'.split(',')[-1].strip() }}",
    "{{ m.content.split('x') }}",
    "{{ strftime_now('%d %b') }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{% break %}",
    "{% continue %}",
    "\n",
    "  ",
    "{# c #}",
    "{{ '%s' | format(m) }}",
    "{% for k, v in m.items() %}",
    "{{ k ~ v }}",
    "{{ m.content.count('') }}",
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list }}",
    "{% set x %}",
    "{% endset %}",
    "{{ x }}",
    "{{ loop.index0 }}",
    "{{ loop.previtem }}",
    "{{ 'x' * 1000 }}",
    "{{ n // 0 }}",
    "{% filter upper %}",
    "{% endfilter %}",
    "{% call f() %}",
    "{% endcall %}",
    "{{ range(9999) | list | length }}",
    "{%",
    "}}",
    "{{ -9223372036854775807 - 2 }}",
    "{{ n ** 99 }}",
    "{{ m.content[5:-1:2] }}",
    "{{ m.content | indent(4) }}",
    "{% for a in range(40) %}",
    "{% set ns.x = [ns.x, ns.x] %}",
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}",
    "{% set ns.x = ns.x ~ ns.x %}",
    "{% set ns.x = ns.x + ns.x %}",
    "{{ ns.x | tojson }}",
    "{{ ns.x == [ns.x] }}",
    "{{ [ns.x, ns.x] | sort | unique | list }}",
    "{{ ('x' * 9999999) | replace('x', 'y' * 9999) }}",
    "{{ '%99999999d' | format(1) }}",
    "{{ [1] | batch(9999999, 'x') | list }}",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  std::string source;
  for (int parts = data.ConsumeIntegralInRange(1, 30); parts > 0; --parts)
    source += data.PickValueInArray(kParts);
  source = penstock::Mutated(std::move(source), data);
  const auto compiled = penstock::CompileTemplate(source);
  if (!compiled) {
    PENSTOCK_CHECK(!compiled.error().message.empty());
    return 0;
  }
  const std::string context = penstock::Mutated(
      R"({"messages":[{"role":"user","content":"xaxé \n"},{"role":"assistant","content":null}],"tools":[{"a":[1,2.5,true]}],"n":7})",
      data);
  const auto text = (*compiled)->Render(context);
  if (!text) PENSTOCK_CHECK(!text.error().message.empty());
  return 0;
}
