"""Breaks the code on purpose, one way after the other, and expects the tests to see it.

    python -m tests.breakages            # all of them, some minutes
    python -m tests.breakages eval pad   # those whose names hold one of these words

Each breakage is one piece of text replaced in a copy of the checkout; the tests that stand guard there must then fail.
`test_breakages.py` makes sure that every piece is still there to be broken.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.settings import ROOT

COPIED = ("pipeline", "tests", "dvc.yaml", "README.md", "setup.cfg", "pyproject.toml", ".dvc/plots")


@dataclass(frozen=True)
class Breakage:
    """One way to be wrong.

    Attributes:
        name: in words.
        file: below the checkout.
        right: the text that is replaced; it stands there once.
        wrong: what takes its place.
        tests: the files of tests that must notice.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


BREAKAGES = (
    Breakage(
        "missing eval()",
        "pipeline/training/dataset.py",
        "head.eval().standardised(",
        "head.standardised(",
        ("test_train.py",),
    ),
    Breakage(
        "a held vector in another's place",
        "pipeline/embeddings/held.py",
        "vectors[held] = self._vectors[places[held]]",
        "vectors[held] = self._vectors[places[held] - 1]",
        ("test_embeddings.py",),
    ),
    Breakage(
        "moments that forget what they are about",
        "pipeline/training/dataset.py",
        "- mean.square()).clamp_min(0)",
        ").clamp_min(0)",
        ("test_dataset.py",),
    ),
    Breakage(
        "tasks that are all made at once",
        "pipeline/core/processes.py",
        "if len(waiting) >= window:",
        "if len(waiting) >= window << 9:",
        ("test_processes.py",),
    ),
    Breakage(
        "a vector gathered that was not checked",
        "pipeline/training/vectors.py",
        "        block = store.read(rows)\n",
        "        block = store.gather(rows)\n",
        ("test_dataset.py",),
    ),
    Breakage(
        "a column at the side without a cue",
        "pipeline/report/template/page.js",
        "[box.scrollWidth > box.clientWidth + 1, ",
        "[false, ",
        ("test_page_sizes.py",),
    ),
    Breakage(
        "unmasked pad",
        "pipeline/heads/pools/attention.py",
        "weights = masked_softmax(x @ self.query * self.scale, mask)",
        "weights = torch.softmax(x @ self.query * self.scale, 1)",
        ("test_heads.py",),
    ),
    Breakage(
        "padding not zeroed before a head",
        "pipeline/heads/classifier.py",
        "return x.masked_fill(~mask.unsqueeze(-1), 0.0)",
        "return x",
        ("test_heads.py",),
    ),
    Breakage(
        "rows shifted by one",
        "pipeline/embed/lane.py",
        "self.store.write(rows[finite], vectors[finite])",
        "self.store.write(np.array(self.rows), np.roll(vectors, 1, axis=0))",
        ("test_embed.py",),
    ),
    Breakage(
        "training chooses on the test sets",
        "pipeline/training/stage.py",
        'validation=dataset.load(sets, store, "validation")',
        'validation=dataset.load(sets, store, "test")',
        ("test_train.py",),
    ),
    Breakage(
        "adapters chosen on the test sets",
        "pipeline/swap/stage.py",
        'self._paired_sets("validation", np.ones((1, len(self._split("validation"))), np.float32))',
        'self._paired_sets("test", np.ones((1, len(self._split("test"))), np.float32))',
        ("test_swap.py",),
    ),
    Breakage(
        "each split standardised by its own moments",
        "pipeline/training/tuning.py",
        "data.validation.standardised(mean, std)",
        "data.validation.standardised(*data.validation.moments)",
        ("test_train.py",),
    ),
    Breakage(
        "every seed starts alike",
        "pipeline/training/tuning.py",
        "        torch.manual_seed(start.seed)\n",
        "        torch.manual_seed(0)\n",
        ("test_train.py",),
    ),
    Breakage(
        "the worse half of the rates goes on",
        "pipeline/training/tuning.py",
        "key=lambda run: -run.micro_ap)",
        "key=lambda run: run.micro_ap)",
        ("test_train.py",),
    ),
    Breakage(
        "references learn from validation's images too",
        "pipeline/evaluation/references.py",
        'single_images(sets.split("train"), shown)',
        "single_images(sets.frame, shown)",
        ("test_references.py",),
    ),
    Breakage(
        "simulated test users show training images",
        "pipeline/sets/simulation.py",
        'parts.get(split, parts["other"])',
        'parts["train"]',
        ("test_conditions.py",),
    ),
    Breakage(
        "a ratio of the wrong heads",
        "pipeline/evaluation/ablation.py",
        "(other.values[switch][name], reference.values[switch][name])",
        "(reference.values[switch][name], other.values[switch][name])",
        ("test_ablation.py",),
    ),
    Breakage(
        "what is not asked is corrected for",
        "pipeline/report/statistics.py",
        'frame["asked"].to_numpy()] = holm(family["p"].to_numpy())',
        'frame["asked"].to_numpy()] = holm(frame["p"].to_numpy())[frame["asked"].to_numpy()]',
        ("test_report_tables.py",),
    ),
    Breakage(
        "a stale store is accepted",
        "pipeline/embeddings/writer.py",
        "if lines := provenance.differences(store.fingerprint, fingerprint):",
        "if lines := []:",
        ("test_embeddings.py",),
    ),
    Breakage(
        "damage is served",
        "pipeline/embeddings/store.py",
        "        self._require(rows, self._right(rows, vectors))\n",
        "",
        ("test_embeddings.py",),
    ),
    Breakage(
        "a dimension that does not vary divides by nothing",
        "pipeline/training/dataset.py",
        "torch.where(std > SMALLEST_STD, std, 1.0)",
        "std",
        ("test_train.py",),
    ),
    Breakage(
        "a changed record is believed",
        "pipeline/core/handover.py",
        "        if content.pop(SEAL) != _seal(content):\n",
        "        if not content.pop(SEAL):\n",
        ("test_handover.py",),
    ),
    Breakage(
        "files of two runs pass for one",
        "pipeline/core/handover.py",
        "        if file_digest(path) == digest:\n",
        "        if file_digest(path):\n",
        ("test_handover.py",),
    ),
    Breakage(
        "a head is tested on users that it has learnt",
        "pipeline/training/checkpoint.py",
        " or self.checkpoint.sets_digest != sets.digest",
        "",
        ("test_handover.py",),
    ),
    Breakage(
        "a folder is removed before the new one stands",
        "pipeline/core/files.py",
        "            _put(aside, path)\n",
        "            remove(path)\n            _put(aside, path)\n",
        ("test_handover.py",),
    ),
    Breakage(
        "a lock file goes after its lock",
        "pipeline/core/lock.py",
        "            if _is(handle, lock):\n",
        "            if True:\n",
        ("test_lock.py",),
    ),
    Breakage(
        "two writers share a store",
        "pipeline/core/lock.py",
        "        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        ("test_embeddings.py",),
    ),
    Breakage(
        "damaged JPEGs come out half grey",
        "pipeline/images.py",
        'simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)',
        'simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)',
        ("test_images.py",),
    ),
    Breakage(
        "bombs are decoded",
        "pipeline/images.py",
        "if image.width * image.height > MAX_PIXELS:",
        "if image.width * image.height > 1000 * MAX_PIXELS:",
        ("test_images.py",),
    ),
    Breakage(
        "a pickle may ask for anything",
        "pipeline/ingest/dvbpr/unpickle.py",
        "        return stand_in(module, name)\n",
        "        return super().find_class(module, name)\n",
        ("test_dvbpr.py",),
    ),
    Breakage(
        "an index in two spellings is one",
        "pipeline/ingest/dvbpr/store.py",
        "WHERE spelling IS excluded.spelling",
        "",
        ("test_dvbpr_store.py",),
    ),
    Breakage(
        "what a pickle asks for twice is forgotten",
        "pipeline/ingest/dvbpr/unpickle.py",
        "        self._fetched[number] -= 1\n",
        "        self._fetched[number] = 0\n",
        ("test_dvbpr_store.py",),
    ),
    Breakage(
        "paths leave their folder",
        "pipeline/ingest/table.py",
        "if os.path.isabs(image) or inside.split(os.sep)[0] == os.pardir:",
        "if os.path.isabs(image):",
        ("test_table.py",),
    ),
    Breakage(
        "images fall out in silence",
        "pipeline/ingest/reading.py",
        "            rejects.add(_unpictured(entry))\n",
        "            pass\n",
        ("test_ingest.py",),
    ),
    Breakage(
        "ties favour the first label",
        "pipeline/metrics/at_k.py",
        "(k - self._above.sum(1)) / self._tied.sum(1)",
        "np.minimum(1, k - self._above.sum(1))",
        ("test_metrics.py",),
    ),
    Breakage(
        "many tests are not corrected for",
        "pipeline/metrics/bootstrap.py",
        'return multipletests(p, 1 - LEVEL, "holm")[1]',
        "return p",
        ("test_bootstrap.py",),
    ),
    Breakage(
        "the calibration error before calibration is the one after",
        "pipeline/evaluation/evaluate.py",
        "(logits, of_seed.uncalibrated(logits))",
        "(logits, logits)",
        ("test_evaluate.py",),
    ),
    Breakage(
        "the calibration error of all bins at once",
        "pipeline/metrics/calibration.py",
        "np.abs(gaps).sum(1)",
        "np.abs(gaps.sum(1))",
        ("test_calibration.py",),
    ),
    Breakage(
        "one threshold for all heads",
        "pipeline/evaluation/evaluate.py",
        "test.data), head.thresholds, head.seeds, strict=True)",
        "test.data), [0.5] * len(head.thresholds), head.seeds, strict=True)",
        ("test_evaluate.py", "test_swap.py"),
    ),
    Breakage(
        "folding forgets the empty set",
        "pipeline/export/folding.py",
        "head.logits_of_nothing() - folded.logits_of_nothing()",
        "0.0 * head.logits_of_nothing()",
        ("test_folding.py",),
    ),
    Breakage(
        "an adapter's offset is not merged",
        "pipeline/swap/merging.py",
        "fold(part, matrix, offset)",
        "fold(part, matrix, 0 * offset)",
        ("test_merging.py",),
    ),
    Breakage(
        "simulated data are not called so",
        "pipeline/report/origin.py",
        'if data["simulated"] else sentence',
        "if False else sentence",
        ("test_report.py",),
    ),
    Breakage(
        "a file half written takes its place",
        "pipeline/core/files.py",
        "        except BaseException as error:\n            remove(aside)\n",
        "        except BaseException as error:\n            os.replace(aside, path)\n",
        ("test_ingest.py", "test_embeddings.py"),
    ),
    Breakage(
        "a stage lacks a dependency",
        "dvc.yaml",
        "      - pipeline/training\n      - pipeline/metrics/selection.py\n",
        "      - pipeline/training\n",
        ("test_structure.py",),
    ),
    Breakage(
        "fine-tuning sees images of test users",
        "pipeline/embed/finetune/examples.py",
        'of_split["train"] - of_split["validation"] - of_split["test"]',
        'of_split["train"] - of_split["validation"]',
        ("test_finetune.py",),
    ),
    Breakage(
        "fine-tuning moves batch normalisation",
        "pipeline/embed/finetune/halves.py",
        "parameter.requires_grad_(not frozen)",
        "parameter.requires_grad_(True)",
        ("test_finetune.py",),
    ),
    Breakage(
        "an interrupted fine-tuning forgets its moments",
        "pipeline/embed/finetune/fit.py",
        '        self._optimiser.load_state_dict(state["optimiser"])\n',
        "",
        ("test_finetune.py",),
    ),
    Breakage(
        "a head that is not calibrated",
        "pipeline/training/stage.py",
        "    run.head.calibrate(*fit_calibration(dataset.logits(run.head, validation).numpy(), truth))\n",
        "",
        ("test_train.py",),
    ),
    Breakage(
        "a threshold from before calibration",
        "pipeline/training/stage.py",
        "return best_threshold(dataset.scores(run.head, validation), truth)",
        "return run.threshold",
        ("test_train.py",),
    ),
    Breakage(
        "photos predicted with another seed",
        "pipeline/export/predict/trained.py",
        "int(np.argmax([result.micro_ap",
        "int(np.argmin([result.micro_ap",
        ("test_predict.py",),
    ),
    Breakage(
        "a copy of a photo that counts",
        "pipeline/export/predict/interests.py",
        "elif photo.digest in distinct:",
        "elif photo.photo.name in distinct:",
        ("test_predict.py",),
    ),
    Breakage(
        "an exported model that nobody compares",
        "pipeline/export/check.py",
        "if not difference <= TOLERANCE or flipped.any() or not weights <= WEIGHT_TOLERANCE:",
        "if False:",
        ("test_export.py",),
    ),
    Breakage(
        "logarithms that ONNX cannot take",
        "pipeline/heads/layers/softplus.py",
        "return -F.softplus(-x)",
        "return F.logsigmoid(x)",
        ("test_export.py",),
    ),
    Breakage(
        "fetch: any address is connected to",
        "pipeline/ingest/fetch/guard.py",
        "if reason := self.refusal(str(place[0])):",
        "if reason := '':",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: redirects lead anywhere",
        "pipeline/ingest/fetch/client.py",
        "if reason := refusal(address, self._hosts):",
        "if reason := '':",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: what unfolds is unfolded",
        "pipeline/ingest/fetch/client.py",
        "auto_decompress=False",
        "auto_decompress=True",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: the library asks again by itself",
        "pipeline/ingest/fetch/client.py",
        "self._session._retry_connection = False",
        "pass",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: an answer has no bound",
        "pipeline/ingest/fetch/client.py",
        "if (left := left - len(part)) < 0:",
        "if False:",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a row that does not lead to its photo",
        "pipeline/ingest/fetch/store.py",
        'self._append([Row(item_id, address, "fetched", "", tries, len(photo), digest, shard, offset)])',
        'self._append([Row(item_id, address, "fetched", "", tries, len(photo), digest, shard, offset + 1)])',
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a torn line stays",
        "pipeline/ingest/fetch/store.py",
        "        cut(folder / NAME, ledger.end)\n",
        "",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a photo is not looked at again behind a power cut",
        "pipeline/ingest/fetch/store.py",
        'return right & ~rows["index"].is_in(wrong)',
        "return right",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a photo in the ledger is believed",
        "pipeline/ingest/fetch/reading.py",
        "if provenance.digest(photo) != self._digests[place]:",
        "if False:",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a failed address is asked at each run",
        "pipeline/ingest/fetch/plan.py",
        'if retry else ("fetched", "gone", "failed")',
        'if retry else ("fetched", "gone")',
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a busy host keeps its pace",
        "pipeline/ingest/fetch/pace.py",
        "state.factor = min(2 * state.factor, SLOWEST)",
        "pass",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: a placeholder is a photo",
        "pipeline/ingest/fetch/reading.py",
        "SHARED if self._is_shared[place] else self._reasons[place]",
        "self._reasons[place]",
        ("test_fetch.py",),
    ),
    Breakage(
        "fetch: the photo of another address",
        "pipeline/ingest/table.py",
        "photos is not None and photos.is_of(item_id, address)",
        "photos is not None",
        ("test_fetch.py",),
    ),
)


def main(words: list[str]) -> int:
    """Applies the breakages whose names hold one of some words, or all; answers with how many went unseen."""
    chosen = [breakage for breakage in BREAKAGES if not words or any(word in breakage.name for word in words)]
    unseen = []
    with tempfile.TemporaryDirectory(prefix="visagg-breakages-") as folder:
        copy = Path(folder)
        for name in COPIED:
            copy_one(ROOT / name, copy / name)
        for breakage in chosen:
            failing = first_failure(copy, breakage)
            print(f"{breakage.name}: {failing or 'NOT SEEN'}", flush=True)
            unseen += [] if failing else [breakage.name]
    print(f"{len(chosen) - len(unseen)} of {len(chosen)} breakages seen")
    return len(unseen)


def copy_one(source: Path, target: Path) -> None:
    """Copies a file or a folder, without what Python made of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def first_failure(copy: Path, breakage: Breakage) -> str | None:
    """The first test that fails in a copy of the checkout once it is broken so; None if none does. Mends it again."""
    file = copy / breakage.file
    sound = file.read_text(encoding="utf-8")
    file.write_text(broken(sound, breakage), encoding="utf-8")
    try:
        for test in breakage.tests:
            words = ["-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/{test}"]
            done = subprocess.run([sys.executable, *words], cwd=copy, capture_output=True, text=True)
            for line in done.stdout.splitlines():
                if line.startswith(("FAILED", "ERROR")):
                    return line.split(" - ")[0]
        return None
    finally:
        file.write_text(sound, encoding="utf-8")


def broken(text: str, breakage: Breakage) -> str:
    """A file's text with a breakage in it.

    Raises:
        ValueError: when the text to be broken does not stand there once.
    """
    if text.count(breakage.right) != 1:
        raise ValueError(f"{breakage.name}: {breakage.right!r} stands {text.count(breakage.right)} times in its file")
    return text.replace(breakage.right, breakage.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
