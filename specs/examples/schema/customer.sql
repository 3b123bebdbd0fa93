-- The tables of the sharded keyspace `customer`. Their ids come from sequences, so no column
-- counts for itself.

CREATE TABLE customer (
  customer_id bigint NOT NULL,
  email varbinary(128),
  PRIMARY KEY (customer_id)
);

CREATE TABLE corder (
  order_id bigint NOT NULL,
  customer_id bigint,
  sku varbinary(128),
  price bigint,
  PRIMARY KEY (order_id)
);
