"""The classifiers on network devices: TCX, or tc filters on a clsact qdisc."""
