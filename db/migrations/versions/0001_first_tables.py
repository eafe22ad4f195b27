"""first tables

Revision ID: 0001
Revises: 
"""

import sqlalchemy as sa
from alembic import op

from db import triggers

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('boards',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('parameters', sa.JSON(), nullable=False),
    sa.Column('last_vote_id', sa.BigInteger(), nullable=False),
    sa.Column('exclusions', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_boards')),
    sa.UniqueConstraint('name', name=op.f('uq_boards_name'))
    )
    op.create_table('contestants',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=128), nullable=False),
    sa.Column('backend', sa.String(length=64), nullable=False),
    sa.Column('settings', sa.JSON(), nullable=False),
    sa.Column('card', sa.JSON(), nullable=False),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_contestants')),
    sa.UniqueConstraint('name', name=op.f('uq_contestants_name'))
    )
    with op.batch_alter_table('contestants', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_contestants_fingerprint'), ['fingerprint'], unique=False)

    op.create_table('prompts',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('category', sa.String(length=64), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('source', sa.String(length=128), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_prompts')),
    sa.UniqueConstraint('text', name=op.f('uq_prompts_text'))
    )
    with op.batch_alter_table('prompts', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_prompts_category'), ['category'], unique=False)

    op.create_table('protocols',
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('version', sa.String(length=32), nullable=False),
    sa.Column('settings', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('fingerprint', name=op.f('pk_protocols'))
    )
    op.create_table('reference_sets',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=128), nullable=False),
    sa.Column('n', sa.Integer(), nullable=False),
    sa.Column('recipe', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reference_sets')),
    sa.UniqueConstraint('name', name=op.f('uq_reference_sets_name'))
    )
    op.create_table('runs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('kind', sa.Enum('generate', 'benchmark', 'judge', name='runkind', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('subject', sa.String(length=256), nullable=False),
    sa.Column('state', sa.Enum('running', 'done', 'failed', 'cancelled', name='runstate', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('done', sa.Integer(), nullable=False),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('stage', sa.String(length=128), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('heartbeat_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_runs'))
    )
    with op.batch_alter_table('runs', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_runs_state'), ['state'], unique=False)

    op.create_table('voters',
    sa.Column('id', sa.String(length=128), nullable=False),
    sa.Column('kind', sa.Enum('person', 'judge', name='voterkind', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_voters'))
    )
    op.create_table('generations',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('contestant_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('prompt_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=True),
    sa.Column('width', sa.Integer(), nullable=True),
    sa.Column('height', sa.Integer(), nullable=True),
    sa.Column('media_type', sa.String(length=32), nullable=True),
    sa.Column('seconds', sa.Float(precision=53), nullable=True),
    sa.Column('cost_usd', sa.Float(precision=53), nullable=True),
    sa.Column('failure', sa.Text(), nullable=True),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('(sha256 IS NULL) <> (failure IS NULL)', name=op.f('ck_generations_image_or_failure')),
    sa.ForeignKeyConstraint(['contestant_id'], ['contestants.id'], name=op.f('fk_generations_contestant_id_contestants')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_generations_prompt_id_prompts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_generations')),
    sa.UniqueConstraint('contestant_id', 'prompt_id', 'seed', name=op.f('uq_generations_contestant_id_prompt_id_seed'))
    )
    with op.batch_alter_table('generations', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_generations_prompt_id'), ['prompt_id'], unique=False)

    op.create_table('ratings',
    sa.Column('board_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('contestant_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('value', sa.Float(precision=53), nullable=False),
    sa.ForeignKeyConstraint(['board_id'], ['boards.id'], name=op.f('fk_ratings_board_id_boards'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['contestant_id'], ['contestants.id'], name=op.f('fk_ratings_contestant_id_contestants')),
    sa.PrimaryKeyConstraint('board_id', 'contestant_id', name=op.f('pk_ratings'))
    )
    op.create_table('scores',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('subject', sa.String(length=256), nullable=False),
    sa.Column('metric', sa.String(length=64), nullable=False),
    sa.Column('protocol_fingerprint', sa.String(length=64), nullable=False),
    sa.Column('contestant_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('value', sa.Float(precision=53), nullable=True),
    sa.Column('unscored', sa.Text(), nullable=True),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('(value IS NULL) <> (unscored IS NULL)', name=op.f('ck_scores_value_or_unscored')),
    sa.ForeignKeyConstraint(['contestant_id'], ['contestants.id'], name=op.f('fk_scores_contestant_id_contestants')),
    sa.ForeignKeyConstraint(['protocol_fingerprint'], ['protocols.fingerprint'], name=op.f('fk_scores_protocol_fingerprint_protocols')),
    sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_scores_run_id_runs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_scores'))
    )
    with op.batch_alter_table('scores', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_scores_contestant_id_metric'), ['contestant_id', 'metric'], unique=False)

    op.create_table('battles',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('token', sa.String(length=64), nullable=False),
    sa.Column('prompt_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('left_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('right_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('drawn_for', sa.String(length=128), nullable=False),
    sa.Column('policy', sa.String(length=64), nullable=False),
    sa.Column('probability', sa.Float(precision=53), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('probability > 0 AND probability <= 1', name=op.f('ck_battles_probability')),
    sa.ForeignKeyConstraint(['drawn_for'], ['voters.id'], name=op.f('fk_battles_drawn_for_voters')),
    sa.ForeignKeyConstraint(['left_id'], ['generations.id'], name=op.f('fk_battles_left_id_generations')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_battles_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['right_id'], ['generations.id'], name=op.f('fk_battles_right_id_generations')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_battles')),
    sa.UniqueConstraint('token', name=op.f('uq_battles_token'))
    )
    with op.batch_alter_table('battles', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_battles_drawn_for'), ['drawn_for'], unique=False)

    op.create_table('skips',
    sa.Column('battle_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['battle_id'], ['battles.id'], name=op.f('fk_skips_battle_id_battles')),
    sa.ForeignKeyConstraint(['voter_id'], ['voters.id'], name=op.f('fk_skips_voter_id_voters')),
    sa.PrimaryKeyConstraint('battle_id', 'voter_id', name=op.f('pk_skips'))
    )
    op.create_table('votes',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('battle_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('outcome', sa.Enum('left', 'right', 'tie', 'both_bad', name='outcome', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('decision_seconds', sa.Float(precision=53), nullable=True),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['battle_id'], ['battles.id'], name=op.f('fk_votes_battle_id_battles')),
    sa.ForeignKeyConstraint(['voter_id'], ['voters.id'], name=op.f('fk_votes_voter_id_voters')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_votes')),
    sa.UniqueConstraint('battle_id', 'voter_id', name=op.f('uq_votes_battle_id_voter_id'))
    )
    with op.batch_alter_table('votes', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_votes_voter_id'), ['voter_id'], unique=False)

    op.create_table('vote_exclusions',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('vote_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['vote_id'], ['votes.id'], name=op.f('fk_vote_exclusions_vote_id_votes')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_vote_exclusions')),
    sa.UniqueConstraint('vote_id', name=op.f('uq_vote_exclusions_vote_id'))
    )
    for statement in triggers.create(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    for statement in triggers.drop(op.get_bind().dialect.name):
        op.execute(statement)
    op.drop_table('vote_exclusions')
    with op.batch_alter_table('votes', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_votes_voter_id'))

    op.drop_table('votes')
    op.drop_table('skips')
    with op.batch_alter_table('battles', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_battles_drawn_for'))

    op.drop_table('battles')
    with op.batch_alter_table('scores', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_scores_contestant_id_metric'))

    op.drop_table('scores')
    op.drop_table('ratings')
    with op.batch_alter_table('generations', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_generations_prompt_id'))

    op.drop_table('generations')
    op.drop_table('voters')
    with op.batch_alter_table('runs', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_runs_state'))

    op.drop_table('runs')
    op.drop_table('reference_sets')
    op.drop_table('protocols')
    with op.batch_alter_table('prompts', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_prompts_category'))

    op.drop_table('prompts')
    with op.batch_alter_table('contestants', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_contestants_fingerprint'))

    op.drop_table('contestants')
    op.drop_table('boards')
