"""How clients train together, and what carries features between client and server."""
