"""prompt sets, and where imported images came from

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from db.schema import UtcDateTime

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('prompt_sets',
    sa.Column('id', ID, nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('licence', sa.Text(), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_prompt_sets')),
    sa.UniqueConstraint('name', 'sha256', name=op.f('uq_prompt_sets_name_sha256'))
    )
    op.create_table('prompt_set_members',
    sa.Column('set_id', ID, nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('prompt_key', sa.BigInteger(), nullable=False),
    sa.Column('item', sa.String(length=128), nullable=False),
    sa.Column('category', sa.String(length=64), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('licence', sa.String(length=128), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_prompt_set_members_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['set_id'], ['prompt_sets.id'], name=op.f('fk_prompt_set_members_set_id_prompt_sets')),
    sa.PrimaryKeyConstraint('set_id', 'position', name=op.f('pk_prompt_set_members'))
    )
    op.create_index(op.f('ix_prompt_set_members_prompt_id'), 'prompt_set_members', ['prompt_id'])
    op.create_table('image_sources',
    sa.Column('generation_id', ID, nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('licence', sa.String(length=128), nullable=False),
    sa.ForeignKeyConstraint(['generation_id'], ['generations.id'], name=op.f('fk_image_sources_generation_id_generations'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('generation_id', name=op.f('pk_image_sources'))
    )


def downgrade() -> None:
    op.drop_table('image_sources')
    op.drop_table('prompt_set_members')
    op.drop_table('prompt_sets')
