"""`sgg predict`: in this process, or spread over Ray Data."""
