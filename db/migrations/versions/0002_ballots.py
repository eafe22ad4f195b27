"""ballots and imported votes

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from db import ballots, triggers
from db.schema import UtcDateTime

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('imported_votes',
    sa.Column('id', ID, nullable=False),
    sa.Column('source', sa.String(length=64), nullable=False),
    sa.Column('position', sa.BigInteger(), nullable=False),
    sa.Column('left_id', ID, nullable=False),
    sa.Column('right_id', ID, nullable=False),
    sa.Column('outcome', sa.Enum('left', 'right', 'tie', 'both_bad', name='outcome', native_enum=False, length=16, create_constraint=True), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('voter', sa.Text(), nullable=True),
    sa.Column('prompt', sa.Text(), nullable=True),
    sa.Column('category', sa.String(length=64), nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=True),
    sa.CheckConstraint('count > 0', name=op.f('ck_imported_votes_count')),
    sa.CheckConstraint('left_id <> right_id', name=op.f('ck_imported_votes_two_contestants')),
    sa.ForeignKeyConstraint(['left_id'], ['contestants.id'], name=op.f('fk_imported_votes_left_id_contestants')),
    sa.ForeignKeyConstraint(['right_id'], ['contestants.id'], name=op.f('fk_imported_votes_right_id_contestants')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_imported_votes')),
    sa.UniqueConstraint('source', 'position', name=op.f('uq_imported_votes_source_position'))
    )
    op.create_table('ballots',
    sa.Column('id', ID, nullable=False),
    sa.Column('board', sa.String(length=128), nullable=False),
    sa.Column('vote_id', ID, nullable=True),
    sa.Column('imported_id', ID, nullable=True),
    sa.Column('left_id', ID, nullable=False),
    sa.Column('right_id', ID, nullable=False),
    sa.Column('outcome', sa.SmallInteger(), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('voter_key', sa.BigInteger(), nullable=False),
    sa.Column('prompt_key', sa.BigInteger(), nullable=False),
    sa.Column('category', sa.String(length=64), nullable=False),
    sa.Column('probability', sa.Float(precision=53), nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['imported_id'], ['imported_votes.id'], name=op.f('fk_ballots_imported_id_imported_votes')),
    sa.ForeignKeyConstraint(['left_id'], ['contestants.id'], name=op.f('fk_ballots_left_id_contestants')),
    sa.ForeignKeyConstraint(['right_id'], ['contestants.id'], name=op.f('fk_ballots_right_id_contestants')),
    sa.ForeignKeyConstraint(['vote_id'], ['votes.id'], name=op.f('fk_ballots_vote_id_votes')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ballots')),
    sa.UniqueConstraint('imported_id', name=op.f('uq_ballots_imported_id')),
    sa.UniqueConstraint('vote_id', name=op.f('uq_ballots_vote_id'))
    )
    with op.batch_alter_table('ballots', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_ballots_board_voter_key_left_id_right_id_outcome_count'), ['board', 'voter_key', 'left_id', 'right_id', 'outcome', 'count'], unique=False)
    for statement in triggers.guard(op.get_bind().dialect.name, triggers.LATER):
        op.execute(statement)
    ballots.fill(op.get_bind())
    # Live ratings count ballots from here on; they are made again from the first.
    op.execute('DELETE FROM ratings')
    op.execute('DELETE FROM boards')


def downgrade() -> None:
    op.drop_table('ballots')
    op.drop_table('imported_votes')
    op.execute('DELETE FROM ratings')
    op.execute('DELETE FROM boards')
