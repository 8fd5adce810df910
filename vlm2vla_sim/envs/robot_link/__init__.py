"""What the backends of robots behind a server share: the rules of a client, the codec, cameras, parts of mocks."""
