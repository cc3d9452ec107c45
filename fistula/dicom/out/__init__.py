"""Objects that go out."""
