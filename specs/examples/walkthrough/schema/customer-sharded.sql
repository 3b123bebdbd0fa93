-- The tables of the keyspace `customer` over several shards. No server can count for all of them, so
-- the ids come from sequences in `commerce`.

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
