"""reports, reasons of votes, battles with names, undone votes, and how a vote was shown

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from db import triggers
from db.schema import UtcDateTime

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def choices(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, length=16, create_constraint=True)


def upgrade() -> None:
    op.add_column('votes', sa.Column('recipe', sa.String(length=32), nullable=True))
    op.add_column('votes', sa.Column('swapped', sa.Boolean(), nullable=True))
    op.add_column('vote_exclusions', sa.Column('ballot_id', sa.BigInteger(), nullable=True))
    op.create_index(op.f('ix_ballots_prompt_key_left_id_right_id'), 'ballots', ['prompt_key', 'left_id', 'right_id'])
    op.create_table('reports',
    sa.Column('id', ID, nullable=False),
    sa.Column('battle_id', ID, nullable=False),
    sa.Column('voter_id', sa.String(length=128), nullable=False),
    sa.Column('reason', choices('reportreason', 'unsafe', 'broken', 'reveals'), nullable=False),
    sa.Column('side', choices('side', 'left', 'right'), nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['battle_id'], ['battles.id'], name=op.f('fk_reports_battle_id_battles')),
    sa.ForeignKeyConstraint(['voter_id'], ['voters.id'], name=op.f('fk_reports_voter_id_voters')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reports')),
    sa.UniqueConstraint('battle_id', 'voter_id', name=op.f('uq_reports_battle_id_voter_id'))
    )
    op.create_table('vote_tags',
    sa.Column('vote_id', ID, nullable=False),
    sa.Column('tag', choices('reasontag', 'prompt', 'realism', 'aesthetics', 'text'), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['vote_id'], ['votes.id'], name=op.f('fk_vote_tags_vote_id_votes')),
    sa.PrimaryKeyConstraint('vote_id', 'tag', name=op.f('pk_vote_tags'))
    )
    op.create_table('named_battles',
    sa.Column('id', ID, nullable=False),
    sa.Column('token', sa.String(length=64), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('left_id', ID, nullable=False),
    sa.Column('right_id', ID, nullable=False),
    sa.Column('drawn_for', sa.String(length=128), nullable=False),
    sa.Column('undone_vote_id', ID, nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['drawn_for'], ['voters.id'], name=op.f('fk_named_battles_drawn_for_voters')),
    sa.ForeignKeyConstraint(['left_id'], ['generations.id'], name=op.f('fk_named_battles_left_id_generations')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_named_battles_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['right_id'], ['generations.id'], name=op.f('fk_named_battles_right_id_generations')),
    sa.ForeignKeyConstraint(['undone_vote_id'], ['votes.id'], name=op.f('fk_named_battles_undone_vote_id_votes')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_named_battles')),
    sa.UniqueConstraint('token', name=op.f('uq_named_battles_token')),
    sa.UniqueConstraint('undone_vote_id', name=op.f('uq_named_battles_undone_vote_id'))
    )
    op.create_index(op.f('ix_named_battles_drawn_for'), 'named_battles', ['drawn_for'])
    op.create_table('named_votes',
    sa.Column('named_battle_id', ID, nullable=False),
    sa.Column('outcome', choices('outcome', 'left', 'right', 'tie', 'both_bad'), nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['named_battle_id'], ['named_battles.id'], name=op.f('fk_named_votes_named_battle_id_named_battles')),
    sa.PrimaryKeyConstraint('named_battle_id', name=op.f('pk_named_votes'))
    )
    op.create_table('rating_checkpoints',
    sa.Column('board_id', ID, nullable=False),
    sa.Column('last_vote_id', sa.BigInteger(), nullable=False),
    sa.Column('exclusions', sa.BigInteger(), nullable=False),
    sa.Column('exclusion_id', sa.BigInteger(), nullable=False),
    sa.Column('ratings', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['board_id'], ['boards.id'], name=op.f('fk_rating_checkpoints_board_id_boards'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('board_id', 'last_vote_id', name=op.f('pk_rating_checkpoints'))
    )
    for statement in triggers.guard(op.get_bind().dialect.name, triggers.VOTING):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table('rating_checkpoints')
    op.drop_table('named_votes')
    op.drop_table('named_battles')
    op.drop_table('vote_tags')
    op.drop_table('reports')
    op.drop_index(op.f('ix_ballots_prompt_key_left_id_right_id'), table_name='ballots')
    op.drop_column('vote_exclusions', 'ballot_id')
    op.drop_column('votes', 'swapped')
    op.drop_column('votes', 'recipe')
