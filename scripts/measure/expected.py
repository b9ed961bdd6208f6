"""What was expected of each row before it was measured for the first time."""

EXPECTED = {
    "resnet18": "0.8 to 0.9 with the winner's settings: batches of 16 are slower here than those of 8, and the generator "
    "takes a part of a processor. 0.65 with nothing configured. The bare loop within 3 % of Python's.",
    "resnet18-bf16": "0.85 of the bare loop; 3 times the FP32 loop.",
    "minilm": "without padding 0.6 of the bare loop, because hardly two of 32 lengths are equal; with it 0.85, and 1.5 "
    "times the rate at a p99 that is no higher.",
    "mlp": "0.4 to 0.5: two thread hops and a checked request stand beside an echo that has neither.",
    "mlp-one-client": "2: the hops to a sleeping thread and back cost as much as the echo.",
    "photograph": "1.1 to 1.2: two hops and a socket beside 20 ms of work.",
    "connections": "3 KB more; nothing that shows in the rate.",
    "start": "0.5 s; 200 MB.",
    "shapes": "a slope of 0.5 MB for 64 shapes, since batches multiply them; over random shapes 1.0.",
    "choices": "one HTTP thread 0.95 of two, four as good as two; MKL 1.3; mimalloc 1.05 over the C library, jemalloc as "
    "good; TCP_NODELAY 1, as answers leave in one piece; kept connections 3; held threads as good. Windows of 1 MiB 1.3 over "
    "64 KiB, and as good as 16 MiB. Requests ahead 1.5.",
}
