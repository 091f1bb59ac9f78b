// The cost of the cloud view in the browser while 500 requests run: one row per update, from the browser's own counters
// ("script" excludes code after an await). "cpu" is the main thread's time on a core, "wall" the elapsed time.
import { launch, openPage, pause, row, signIn } from './browser.mjs';

const SECONDS = Number(process.env.PENSTOCK_BUSY_SECONDS ?? 60);
const NAMES = ['TaskDuration', 'ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'];

async function measure(browser, clock) {
  const { context, page } = await openPage(browser);
  await signIn(page, process.env.PENSTOCK_KEY);
  await page.click('.views a[href="#/cloud"]');
  await page.waitForSelector('#requests tr');
  await page.evaluate(() => document.getElementById('pager').scrollIntoView());  // the part that changes most is visible
  await pause(5000);
  const session = await context.newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: clock === 'cpu' ? 'threadTicks' : 'timeTicks' });
  const read = async () => Object.fromEntries((await session.send('Performance.getMetrics')).metrics.map((m) => [m.name, m.value]));
  let updates = 0;
  page.on('requestfinished', (request) => { updates += request.url().includes('/v1/live'); });
  let before = await read(), began = performance.now();
  for (let second = 0; second < SECONDS; ++second) {
    const at = Date.now(), had = updates;
    while (updates === had && Date.now() - at < 5000) await pause(20);
    await pause(400);  // between two updates: this one is drawn, the next one has not started
    const after = await read(), ms = performance.now() - began;
    const cost = Object.fromEntries(NAMES.map((name) => [name, (after[name] - before[name]) * 1000]));
    const shown = await page.evaluate(() => [document.querySelectorAll('#requests tr').length, document.getElementById('pager-text').textContent]);
    row({ part: 'busy', clock, updates: updates - had, ms, task_ms: cost.TaskDuration,
      script_ms: cost.ScriptDuration, layout_ms: cost.LayoutDuration, style_ms: cost.RecalcStyleDuration, rows: shown[0], shown: shown[1] });
    before = await read();
    began = performance.now();
  }
  await context.close();
}

const browser = await launch();
for (const clock of ['cpu', 'wall']) await measure(browser, clock);
await browser.close();
