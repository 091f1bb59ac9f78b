// The current chat request as code in several languages. Pure functions from the request's body to text.

// `body`: as it is sent, without the stream's options. `origin`: of this page.
export function snippets(origin, body) {
  return { curl: curl(origin, body), python: python(origin, body), node: node(origin, body) };
}

// Uses a here-document, so that no text needs quoting. Its lines are indented JSON, so no line can be the end
// marker.
function curl(origin, body) {
  return `curl -N \\
  ${origin}/v1/chat/completions \\
  -H "Authorization: Bearer $PENSTOCK_KEY" \\
  -H "Content-Type: application/json" \\
  -d @- <<'JSON'
${JSON.stringify({ ...body, stream: true }, null, 2)}
JSON`;
}

// JSON's strings, numbers and lists are also valid Python.
function python(origin, body) {
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${literal(value, '    ')},`);
  return `# pip install openai
import os
from openai import OpenAI

client = OpenAI(
    base_url="${origin}/v1",
    api_key=os.environ["PENSTOCK_KEY"],
)
stream = client.chat.completions.create(
${fields.join('\n')}
    stream=True,
)
for chunk in stream:
    text = chunk.choices[0].delta.content
    print(text or "", end="", flush=True)
print()`;
}

function node(origin, body) {
  const fields = Object.entries(body).map(([name, value]) => `  ${name}: ${literal(value, '  ')},`);
  return `// npm install openai; node chat.mjs
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "${origin}/v1",
  apiKey: process.env.PENSTOCK_KEY,
});
const stream = await client.chat.completions.create({
${fields.join('\n')}
  stream: true,
});
for await (const chunk of stream) {
  const text = chunk.choices[0].delta.content;
  process.stdout.write(text ?? "");
}
console.log();`;
}

// One message per line.
function literal(value, indent) {
  if (!Array.isArray(value)) return JSON.stringify(value);
  const lines = value.map((message) => {
    const fields = Object.entries(message).map(([name, text]) => `${JSON.stringify(name)}: ${JSON.stringify(text)}`);
    return `${indent}    {${fields.join(', ')}},`;
  });
  return `[\n${lines.join('\n')}\n${indent}]`;
}
