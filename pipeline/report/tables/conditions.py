"""The table of simulated users for whom the assumptions of some heads fail."""

from pipeline.report.results import Results
from pipeline.report.table import Cell, Measured, Table


def conditions(results: Results) -> Table | None:
    """One row a case and head; None where nothing was simulated."""
    if not results.conditions or not results.conditions["cases"]:
        return None
    rows: list[list[Cell]] = []
    for case in results.conditions["cases"]:
        for name, head in case["heads"].items():
            is_preferred = name == case["preferred"]
            lead: Cell = "" if is_preferred else Measured(*head["behind"])
            choice: list[Cell] = ["yes" if is_preferred else "", "yes" if name == case["best"] else ""]
            cells: list[Cell] = [Measured(*head["micro_ap"]), Measured(*head["micro_f1"]), f"{head['validation']:.4f}"]
            rows.append([case["case"], name, *cells, *choice, lead])
    notes = [
        f"Simulated: {results.conditions['users']:,} users a case, made up, of this catalogue's images and what each "
        f"of them shows; backbone {results.conditions['backbone']}; test users show images that no training user "
        "shows. The same tuning for every head and case. The lead is that of the head that validation prefers, in "
        "micro AP on the same users, with its 95 % interval; tests are not adjusted for being many.",
        *(_verdict(case) for case in results.conditions["cases"]),
        _about_attention(results.conditions["cases"]),
    ]
    columns = ["case", "head", "micro AP", "micro F1", "validation micro AP", "preferred", "best on test", "lead"]
    first = ("head", "case", "micro AP", "preferred", "lead")
    title = "Which head wins where its assumption fails"
    return Table("conditions", title, columns, rows, "\n".join(notes), first=first)


def _near(case: dict) -> list[str]:
    """Heads that the preferred one is not shown to be ahead of."""
    return [name for name, head in case["heads"].items() if name != case["preferred"] and head["behind"][1] <= 0]


def _verdict(case: dict) -> str:
    """Who wins a case, in a sentence."""
    if near := _near(case):
        return f"{case['case']}: {case['preferred']}, not shown to be ahead of {', '.join(near)}."
    return f"{case['case']}: {case['preferred']}, ahead of every other head."


def _about_attention(cases: list[dict]) -> str:
    """Where a head that pools by attention wins."""
    won = [case["case"] for case in cases if "attention" in case["preferred"]]
    return f"Attention is preferred in: {'; '.join(won)}." if won else "Attention is preferred in none of these cases."
