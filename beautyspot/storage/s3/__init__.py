"""Blobs in S3.

`storage` saves, loads, lists and deletes blobs; `client` creates boto3's clients, `transfer` uploads and downloads,
`errors` translates botocore's exceptions.
"""
