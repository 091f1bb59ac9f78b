// A client of the public HTTP API.

const KEY = 'penstock.key';
let key = null;

export const storedKey = () => {
  try {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
  } catch {
    return null;
  }
};
export function useKey(secret) {
  key = secret;
}
// Stores the key for this tab only or, if `always`, until the user signs out.
export function keepKey(secret, always) {
  try {
    (always ? localStorage : sessionStorage).setItem(KEY, secret);
  } catch { /* a browser without storage: the key is kept until the page is closed */ }
}
export function forgetKey() {
  try {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
  } catch { /* nothing was stored */ }
  key = null;
}

// A failed request, with the server's message if it sent one. status 0: the server was not reached.
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, requestId = '', retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, param, requestId, retryAfter });
  }
}

async function errorOf(response) {
  let details = {};
  try {
    details = (await response.json()).error ?? {};
  } catch { /* not from Penstock: a proxy answered */ }
  return new ApiError(details.message ?? `The server answered ${response.status} ${response.statusText}.`, {
    status: response.status,
    code: details.code,
    param: details.param,
    requestId: response.headers.get('x-request-id') ?? '',
    retryAfter: Number(response.headers.get('retry-after') ?? 0),
  });
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      ...options,
      cache: 'no-store',
      headers: { authorization: `Bearer ${key}`, accept: 'application/json', ...options.headers },
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('Cannot reach Penstock. Check that it is running and that this computer is online.');
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function get(path, signal) {
  return (await call(path, { signal })).json();
}

// One streamed chat completion. Calls opened(requestId), note(text) with the server's comments while the request
// waits, and chunk(json) for each event; returns at [DONE].
export async function streamChat(body, { signal, opened, note, chunk }) {
  const response = await call('/v1/chat/completions', {
    method: 'POST',
    signal,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const requestId = response.headers.get('x-request-id') ?? '';
  opened(requestId);
  for await (const event of serverSentEvents(response.body)) {
    if (event.comment !== undefined) note(event.comment);
    if (event.data === undefined) continue;
    if (event.data === '[DONE]') return;
    const json = JSON.parse(event.data);
    if (json.error) throw new ApiError(json.error.message, { status: 200, code: json.error.code, requestId });
    chunk(json);
  }
  throw new ApiError('The connection was lost before the answer was complete.', { requestId });
}

// Events are separated by an empty line; lines that start with a colon are comments.
export async function* serverSentEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError('The connection was lost before the answer was complete.');
    }
    if (piece.done) return;
    rest += piece.value.replaceAll('\r', '');
    const events = rest.split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const lines = event.split('\n');
      const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
      const comment = lines.find((line) => line.startsWith(':'));
      yield { data: data.length ? data.join('\n') : undefined, comment: comment?.slice(1).trim() };
    }
  }
}
