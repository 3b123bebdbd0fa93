-- The tables of the keyspace `customer` while it has one shard, where a column can count for itself.

CREATE TABLE customer (
  customer_id bigint NOT NULL AUTO_INCREMENT,
  email varbinary(128),
  PRIMARY KEY (customer_id)
);

CREATE TABLE corder (
  order_id bigint NOT NULL AUTO_INCREMENT,
  customer_id bigint,
  sku varbinary(128),
  price bigint,
  PRIMARY KEY (order_id)
);
