"""The report: one HTML page that tells people what a run or a comparison found."""
