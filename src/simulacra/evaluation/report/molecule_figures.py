"""What each figure of molecules means, in one sentence."""

MOLECULES = {
    "valid molecules": "The share of samples that are molecules at all: they can be read, no atom has too many bonds,"
    " and there is at least one atom.",
    "unique@1000": "How many of the first 1,000 valid samples are different molecules, as a share.",
    "unique@10000": "How many of the first 10,000 valid samples are different molecules, as a share.",
    "unique molecules": "How many of the valid samples are different molecules, as a share.",
    "novel molecules": "The share of different molecules that were not learned from. Alone it says little:"
    " noise is new.",
    "internal diversity": "How unlike two samples are on average, by the pieces they are made of: 0 for copies of one"
    " molecule. As varied as real ones is right; more is not better.",
    "similarity to the nearest held-out molecule": "How near the most similar unseen molecule is, 0 to 1: far below"
    " what training molecules have, samples are of another kind; far above it, too near what is known.",
    "scaffold similarity": "Whether samples use the same frames of rings as unseen molecules, and as often: 1 if so.",
    "new scaffolds": "The share of different ring frames among samples that no training molecule has.",
    "wasserstein distance": "How far the property must be shifted, on average, to turn the samples' distribution into"
    " that of unseen molecules, in its own unit.",
    "kl divergence": "How much the property's distribution differs from that of unseen molecules; near what training"
    " molecules have if it does not.",
}
