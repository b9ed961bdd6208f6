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
    "ablation-simulated": "as of each below.",
    "ablation-sizes": "1.05 of the rate at 32 clients and more, as batches of 16 took a tenth more a row on one processor; "
    "nothing at 8. Simulated with that curve the same, and nothing with any other.",
    "ablation-shared": "a p99 of 0.8 in the open loops and at 8 clients; the rate 1.05 at 8 clients and 1 at 32.",
    "ablation-defer_to_other": "1.1 of the rate at 4 and 8 clients, because one instance would run nearly all of them; 1 at 32.",
    "ablation-coalesce": "the p50 lower by some percent at 4 and 8 clients, the rate as good; nothing in the open loop.",
    "ablation-warmth": "it costs rate in the first seconds, 0.9, and saves a p99 of 0.8 of ResNet-18; nothing of the MLP.",
    "ablation-padding_cost": "1.02 of the rate, since sorted and padded batches bring the bare loop 1.16 at most.",
    "ablation-by_size": "1.03 at one client, 1 at 8 and 32: the forms are as fast as each other at most sizes.",
    "ablation-improve": "1.1 of the rate at every level; a p99 of 1.3 in the first seconds, while both forms are raced.",
    "ablation-calibrate": "1 at 8 and 32 clients, as the plan is 2x1 with it and without; 0.1 s more until it is ready.",
    "ablation-trial_whole": "1 everywhere; a p99 of 1.01, because one batch in 128 is larger. After a disturbance 1.05.",
    "ablation-spin_before_park": "1.15 of the rate of one client to the MLP; 1 at 32.",
    "ablation-pair": "as beside_another alone, and a little more.",
    "ablation-together": "1.1 of the rate at 4 and 8 clients, 1.03 at 32 and 64; a p99 of 0.85 in the open loops.",
}
