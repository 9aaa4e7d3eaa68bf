"""Jobs: submitting, following and ending certifications and learning jobs."""
