-- The tables of the keyspace `commerce`: what is sold, to whom, and what was ordered.

CREATE TABLE product (
  sku varbinary(128) NOT NULL,
  description varbinary(128),
  price bigint,
  PRIMARY KEY (sku)
);

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
