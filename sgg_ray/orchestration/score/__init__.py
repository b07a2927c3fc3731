"""`sgg score`: task workers on Ray send gradient summaries."""
