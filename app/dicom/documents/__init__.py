"""What a study gets: structured reports, the printed report, a picture of the answer."""
