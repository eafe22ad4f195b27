"""prompts are found by the hash of their text, however long it is

Revision ID: 0011
Revises: 0010
"""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('prompts', sa.Column('text_sha256', sa.String(length=64), nullable=True))
    prompts = sa.table('prompts', sa.column('id', sa.BigInteger), sa.column('text', sa.Text), sa.column('text_sha256', sa.String))
    connection = op.get_bind()
    hashes = [
        {'row': id, 'hash': sha256(text.encode()).hexdigest()}
        for id, text in connection.execute(sa.select(prompts.c.id, prompts.c.text))
    ]
    if hashes:
        row, hash = sa.bindparam('row'), sa.bindparam('hash')
        connection.execute(sa.update(prompts).where(prompts.c.id == row).values(text_sha256=hash), hashes)
    with op.batch_alter_table('prompts', schema=None) as batch_op:
        batch_op.alter_column('text_sha256', existing_type=sa.String(length=64), nullable=False)
        batch_op.drop_constraint(batch_op.f('uq_prompts_text'), type_='unique')
        batch_op.create_unique_constraint(batch_op.f('uq_prompts_text_sha256'), ['text_sha256'])


def downgrade() -> None:
    with op.batch_alter_table('prompts', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('uq_prompts_text_sha256'), type_='unique')
        batch_op.create_unique_constraint(batch_op.f('uq_prompts_text'), ['text'])
        batch_op.drop_column('text_sha256')
