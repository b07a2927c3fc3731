"""`sgg tune`: a sweep under Ray Tune."""
