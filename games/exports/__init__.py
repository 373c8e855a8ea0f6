"""Games as environments of other libraries."""
