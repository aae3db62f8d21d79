"""Both stages against what people would write instead, in turns on one machine. `training` is stage two.

Stage one: the same photos, the same weights.

| contender | what it is |
|---|---|
| reference | timm's evaluation transform on Pillow images, a torch DataLoader, eager float32 |
| onnxruntime | the same transform and DataLoader, ONNX Runtime on the CPU |
| visagg | what `visagg embed` runs |

Each lives in a process of its own, which imports this package: hence nothing is imported here, so that none carries
another's libraries. `embedding` is the run, `child` the processes, `contenders` and `stage_one` what runs in them.
"""
