"""A bench's verdict: every figure compared with its bar, as a margin that must reach 1.

Margin = figure/bar where more is better, bar/figure where less is better. The bench's own figure is the worst
margin. A figure that was not measured has margin 0, so a skipped part cannot pass.
"""
import sys


class Verdict:
    def __init__(self, name):
        self.name = name
        self._lines = []    # (row, figure, bar, margin, note)
        self._reported = []  # (row, figure): no bar

    def at_least(self, row, figure, bar, unit="", note=""):
        self._add(row, figure, bar, figure / bar if bar else 1.0, ">=", unit, note)

    def at_most(self, row, figure, bar, unit="", note=""):
        if figure <= 0:
            margin = 99.0
        else:
            margin = bar / figure  # a bar of 0 allows nothing
        self._add(row, figure, bar, margin, "<=", unit, note)

    def holds(self, row, held, of, note=""):
        """`held` of `of` checks passed; all must pass. No check at all is short."""
        self._add(row, held, of, held / of if of else 0.0, "of", "", note)

    def missing(self, row, why):
        self._lines.append((row, "not measured", why, 0.0, ""))

    def report(self, row, text):
        self._reported.append((row, text))

    def _add(self, row, figure, bar, margin, relation, unit, note):
        self._lines.append((row, f"{_short(figure)}{unit}", f"{relation} {_short(bar)}{unit}", min(margin, 99.0), note))

    def finish(self):
        """Prints the table and the last line; exits with status 1 if short."""
        width = max([len(line[0]) for line in self._lines] + [len(r[0]) for r in self._reported] + [4])
        if self._lines:
            print(f"{'row':{width}}  {'figure':>16}  {'bar':>18}  margin")
        for row, figure, bar, margin, note in self._lines:
            mark = "" if margin >= 1 else "  <-- short"
            print(f"{row:{width}}  {figure:>16}  {bar:>18}  {margin:6.2f}{mark}{'  ' + note if note else ''}")
        if self._reported:
            print("\nreported, without a bar:")
        for row, text in self._reported:
            print(f"{row:{width}}  {text}")
        worst = min(self._lines, key=lambda line: line[3], default=("no row at all", "", "", 0.0, ""))
        ok = worst[3] >= 1
        print(f"{self.name}: {worst[3]:.2f} of its bar at {worst[0]} (needs 1.00): {'ok' if ok else 'short'}")
        sys.exit(0 if ok else 1)


def _short(number):
    if isinstance(number, int):
        return f"{number:,}"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) < 10 else f"{number:.1f}"


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
