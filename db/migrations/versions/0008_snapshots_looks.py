"""snapshots of boards, and prompts that visitors were shown with names

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from db import triggers
from db.schema import UtcDateTime

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('snapshots',
    sa.Column('id', sa.String(length=16), nullable=False),
    sa.Column('recipe', sa.JSON(), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_snapshots'))
    )
    op.create_index(op.f('ix_snapshots_at'), 'snapshots', ['at'])
    op.create_table('looks',
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_looks_prompt_id_prompts')),
    sa.PrimaryKeyConstraint('voter_id', 'prompt_id', name=op.f('pk_looks'))
    )
    for statement in triggers.guard(op.get_bind().dialect.name, triggers.SNAPSHOTS):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table('looks')
    op.drop_table('snapshots')
