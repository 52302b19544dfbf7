"""What each figure of tunes means, in one sentence."""

TUNES = {
    "overlapping area": "Whether drawn tunes are as far from unseen ones as those are from one another: 1 if so, 0"
    " where the two have nothing in common.",
    "out of key rate": "The share of notes outside the major or minor key that holds most of a tune's notes.",
    "notes a quarter": "How many notes begin within a quarter note, on average over tunes.",
    "bars that come again": "How alike each bar is to the most alike other one, by its pitch classes; 1 where every bar"
    " comes again.",
    "tunes that stand whole in training": "The share of drawn tunes that are note for note one that was learned from.",
}
