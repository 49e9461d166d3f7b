"""What people are told in the app: the topics they may switch, and the one owner of the tables behind them."""
