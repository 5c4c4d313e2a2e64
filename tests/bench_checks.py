"""The lab's table, fault x verdict: ``python -m tests.bench_checks [WORD OF A NAME]``."""

import sys

from tests.lab import Lab, faults


def main(word: str = "") -> int:
    """Print a row a fault; returns how many were not named rightly."""
    lab, wrong, tried, skipped = Lab(), 0, 0, 0
    print("| fault | named | s | verdict |\n|---|---|---|---|")
    try:
        for fault in (f for f in faults() if word in f.name):
            if fault.missing:
                skipped += 1
                print(f"| {fault.name} | | | skipped: needs {', '.join(fault.missing)} |")
                continue
            verdict = lab.judge(fault)
            tried, wrong = tried + 1, wrong + (not verdict.right)
            said = ", ".join(verdict.said) or "nothing"
            right = "right" if verdict.right else f"WRONG, not {' or '.join(fault.codes)}"
            print(f"| {fault.name} | {said} | {verdict.seconds:.1f} | {right} |", flush=True)
    finally:
        lab.close()
    print(f"\n{tried - wrong} of {tried} faults named rightly, {skipped} skipped")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:2])))
