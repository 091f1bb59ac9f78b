// Sets light or dark before the first paint: the user's choice, else the system's. Not a module, so it runs first.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let choice = 'auto';
  try {
    choice = localStorage.getItem('penstock.theme') ?? 'auto';
  } catch { /* a browser without storage: the choice is kept until the page is closed */ }
  const apply = () => {
    document.documentElement.dataset.theme = choice === 'auto' ? (dark.matches ? 'dark' : 'light') : choice;
    document.documentElement.dataset.choice = choice;
  };
  dark.addEventListener('change', apply);
  addEventListener('penstock-theme', (event) => {
    choice = event.detail;
    try {
      localStorage.setItem('penstock.theme', choice);
    } catch { /* as above */ }
    apply();
  });
  apply();
})();
