"""`sgg score`: task workers on Ray exchange gradient summaries."""
