"""Processes whose packets are known, and a judge of the labels that they got."""
