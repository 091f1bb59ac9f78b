// Formats numbers for users.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

// Most numbers are small, and Intl is slow for those.
export const count = (n) => (Number.isInteger(n) && n >= 0 && n < 1000 ? String(n) : whole.format(n));
export const compact = (n) => (n < 10000 ? whole.format(n) : short.format(n));

// 186, 18.6, 1.9: three digits are enough.
export const rate = (n) => (n >= 100 ? whole.format(n) : n >= 10 ? n.toFixed(1) : n.toFixed(n === 0 ? 0 : 1));

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    ++at;
  }
  return `${n >= 100 || at === 0 ? whole.format(n) : n.toFixed(1)} ${units[at]}`;
}

// Milliseconds as a duration: "84 ms", "2.4 s", "3 min 20 s", "2 h 5 min".
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// How long something has been running, in units that change rarely: "12 s", "3 min", "2 h 5 min".
export function age(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : duration(ms);
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const roles = { operator: 'operator', finance: 'finance', team_lead: 'team lead', developer: 'developer' };
export const roleName = (role) => roles[role] ?? role;
