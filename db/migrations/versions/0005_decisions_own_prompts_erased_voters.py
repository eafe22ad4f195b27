"""what admins decide, voters' own prompts, and voters who asked to be forgotten

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from db import triggers
from db.schema import UtcDateTime

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('erased_voters',
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['voter_id'], ['voters.id'], name=op.f('fk_erased_voters_voter_id_voters')),
    sa.PrimaryKeyConstraint('voter_id', name=op.f('pk_erased_voters'))
    )
    op.create_table('decisions',
    sa.Column('id', ID, nullable=False),
    sa.Column('admin', sa.String(length=64), nullable=False),
    sa.Column('topic', sa.String(length=16), nullable=False),
    sa.Column('subject', sa.String(length=128), nullable=False),
    sa.Column('action', sa.String(length=16), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('value', sa.JSON(), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions'))
    )
    op.create_index(op.f('ix_decisions_topic_subject'), 'decisions', ['topic', 'subject'])
    op.create_table('own_prompts',
    sa.Column('id', ID, nullable=False),
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('left_id', ID, nullable=False),
    sa.Column('right_id', ID, nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('policy', sa.String(length=64), nullable=False),
    sa.Column('probability', sa.Float(precision=53), nullable=False),
    sa.Column('counts', sa.Boolean(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('done', sa.SmallInteger(), nullable=False),
    sa.Column('attempts', sa.SmallInteger(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('run_id', ID, nullable=True),
    sa.Column('battle_id', ID, nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('finished_at', UtcDateTime(timezone=True), nullable=True),
    sa.CheckConstraint('probability > 0 AND probability <= 1', name=op.f('ck_own_prompts_probability')),
    sa.ForeignKeyConstraint(['battle_id'], ['battles.id'], name=op.f('fk_own_prompts_battle_id_battles')),
    sa.ForeignKeyConstraint(['left_id'], ['contestants.id'], name=op.f('fk_own_prompts_left_id_contestants')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_own_prompts_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['right_id'], ['contestants.id'], name=op.f('fk_own_prompts_right_id_contestants')),
    sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_own_prompts_run_id_runs')),
    sa.ForeignKeyConstraint(['voter_id'], ['voters.id'], name=op.f('fk_own_prompts_voter_id_voters')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_own_prompts'))
    )
    op.create_index(op.f('ix_own_prompts_voter_id'), 'own_prompts', ['voter_id'])
    op.create_index(op.f('ix_own_prompts_state'), 'own_prompts', ['state'])
    op.create_index(op.f('ix_own_prompts_battle_id'), 'own_prompts', ['battle_id'])
    for statement in triggers.guard(op.get_bind().dialect.name, triggers.DECISIONS):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table('own_prompts')
    op.drop_table('decisions')
    op.drop_table('erased_voters')
