"""The SQL room: typed tables, migrations, the store of domain objects and the blobs of image bytes."""
