"""What each figure of rows means, in one sentence."""

ROWS = {
    "column shapes": "How alike each column's values are to real ones', one column at a time: 1 for equal"
    " distributions. Says nothing of what holds columns together.",
    "pair trends": "How alike pairs of columns hang together: correlations of numbers, joint tables of values; 1 for"
    " equal ones.",
    "conditional shapes": "How alike columns are within groups, such as the ages of those with one job; 1 if equal.",
    "detection": "How well boosted trees tell samples from real rows they have not seen: 0.5 where they cannot, 1 where"
    " each is named rightly. The severest of the shapes.",
    "area": "How well a classifier ranks held-out rows: 0.5 by chance, 1 without fault.",
    "nearer to training rows than to held-out ones": "Of as many rows of both kinds, how often a training row is the"
    " nearest: more than one half where rows were learnt by heart.",
    "distance to the closest record": "How far samples lie from the nearest row that was learned from, beside how far"
    " unseen rows do. Far below 1 they copy; far above it they lie off the data.",
    "rows that stand in training": "Samples equal to a row that was learned from, cell for cell; common rows are met by"
    " chance, as the held-out share says.",
    "membership by distance": "How well someone who sees the samples tells whether a person was learned from, by the"
    " nearest sample: 0.5 where they cannot.",
    "singling out risk": "How much more often a guess drawn from samples fits one person alone among those"
    " learned from than among others; 0 is innocent. A better attacker may do better.",
    "linkability risk": "How much more often two halves of a person's record are linked through one sample than"
    " those of people who were not learned from; 0 is innocent.",
    "attribute inference risk": "How much better a secret is guessed from the most similar sample for people learned"
    " from than for others; 0 is innocent: what is known of all is no secret of one.",
    "rows that break": "The share of samples that break a rule that every real row keeps; none where it is kept"
    " by construction.",
}
