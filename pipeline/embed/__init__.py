"""Stage one: images that have no vector yet, through backbones, into their stores.

| module | its one job |
|---|---|
| stage | backbones by alias; how the work is divided |
| stream | the work in this process: reading, decoding, inference and writing at the same time |
| parts | the work divided among processes or machines, and what they made merged |
| verify | what stores there are, and whether they are whole |
| target, lane | a backbone and its store; pixels on their way to both |
| flow, stopwatch | the threads of a run; where its time goes |
| backbones | names and weights to frozen models |
| engines | the runtimes that execute a model |
"""
