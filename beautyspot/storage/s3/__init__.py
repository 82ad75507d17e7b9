"""Blobs in S3.

`storage` saves, loads, lists and deletes; `client` makes boto3's clients, `transfer` moves bytes, `errors` translates
botocore's exceptions.
"""
