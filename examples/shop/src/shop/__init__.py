"""A small shop: customers, products, carts and orders over PostgreSQL and Redis."""
