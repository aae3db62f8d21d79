"""The threads of stage one: bounded, in order, and gone with their block; where the time goes."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline import images
from pipeline.catalogue.images import Images
from pipeline.core.progress import Notes
from pipeline.embed import flow, stopwatch
from pipeline.embed.engines import choose
from pipeline.embed.engines.engine import Engine
from pipeline.embed.stopwatch import Stopwatch
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embeddings.store import DONE, Embeddings
from tests.support.backbones import tiny
from tests.support.images import bank, jpeg
from tests.support.settings import embed_settings


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_threads_forget_what_has_not_begun_and_finish_what_has_when_an_error_ends_a_run(error):
    begun, finished, futures = [], [], []

    def work(number):
        begun.append(number)
        for _ in range(2000):  # until the last is forgotten; if it never is, the next ones begin
            if len(futures) == 5 and futures[-1].cancelled():
                break
            time.sleep(0.005)
        finished.append(number)

    def run():
        with flow.pool(1) as threads:
            futures.extend(threads.submit(work, number) for number in range(5))
            while not begun:
                time.sleep(0.001)
            raise error

    with pytest.raises(error):
        run()
    assert begun == finished == [0]


def test_little_is_read_and_decoded_ahead_of_an_engine_that_stands_still(tmp_path, monkeypatch):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed, 16, 16) for seed in range(200)])
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    decoded, go, read, read_many, decode = [], threading.Event(), [], Images.read_many, images.decode
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(data) or decode(data))
    monkeypatch.setattr(Images, "read_many", lambda self, rows: read.extend(rows) or read_many(self, rows))
    engine = Engine(lambda pixels: go.wait(60) and np.zeros((4, 16), np.float32), "fake", batch_size=4, streams=2)
    monkeypatch.setattr(choose, "open_engine", lambda *_, **__: engine)
    thread = threading.Thread(target=embed, args=(catalogue, [target], RunOptions(embed_settings(), Notes())))
    thread.start()
    try:
        in_batches = (2 + 2) * 4  # images of a batch a stream, of one that waits, and of one that is waited for
        expected = in_batches + flow.AHEAD - 1
        while len(decoded) < expected and thread.is_alive():
            time.sleep(0.01)
        time.sleep(0.2)  # for more, if there were more to come
        assert len(decoded) == expected
        assert expected < len(read) <= expected + 3 * flow.READ
        assert not Embeddings(target.path).status.any()
    finally:
        go.set()
        thread.join()
    assert (Embeddings(target.path).status == DONE).all() and len(decoded) == 200


class Clock:
    """A clock that stands still but for what is said to take time."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def taking(self, seconds, result=None):
        """A function that takes some seconds."""

        def function(*_):
            self.now += seconds
            return result

        return function


class Lazy:
    """Threads that do all they have to do at the moment at which somebody asks for the result."""

    def submit(self, function, *arguments):
        return SimpleNamespace(result=lambda: function(*arguments))


def test_time_goes_to_the_work_that_takes_it_and_to_who_waits_for_it(monkeypatch):
    clock = Clock(monkeypatch)
    watch = Stopwatch()
    batch = SimpleNamespace(run=clock.taking(5, "vectors"), write=clock.taking(2))
    queue = flow.InferenceQueue(Lazy(), 1, watch)
    for _ in range(3):
        queue.put(batch)
    queue.finish()
    assert watch.seconds == {"infer": 15, "waiting for infer": 15, "write": 6} and watch.pace() == "infer"
    monkeypatch.setattr(flow, "prepare", clock.taking(4, []))
    encoded = SimpleNamespace(read_many=clock.taking(3, [b"image"] * 5))
    decoder = flow.Decoder(encoded, Lazy(), Lazy(), ahead=2, watch=watch)
    assert [row for row, _ in decoder.decoded(np.arange(5), [])] == list(range(5))
    assert {kind: watch.seconds[kind] for kind in ("read", "decode", "waiting for decode")} == {
        "read": 3,
        "decode": 20,
        "waiting for decode": 23,
    }
    assert watch.pace() == "decode"
    assert watch.summary(23) == (
        "23 images in 44.0 s, 0.5 a second; seconds over all threads: read 3.0, decode 20.0, infer 15.0, write 6.0; "
        "decode sets the pace"
    )
