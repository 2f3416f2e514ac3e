CREATE DATABASE predictions;
