"""Backend "bridge": a real WidowX 250 S behind the BridgeData robot server, and a stand-in that speaks its wire."""
